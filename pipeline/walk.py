"""Walk a params file before hours are spent on it: `python -m pipeline.walk --params
params/paper.yaml`.

Every variant of the tasks, setting of the search and setting of the design takes two optimizer
steps and one evaluation of its own recipe at its own image size, on a few drawn images;
micro-batches and workers alone are small. Under Ray go a training, a trial of the search and one of
the design, from the command to what they publish. A table says how each ended; the exit code is 1
where one failed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from pipeline.project import cli
from pipeline.rehearsal import table
from pipeline.rehearsal.places import PARTS
from pipeline.rehearsal.walk import RAY, walk


def main() -> None:
    """Read the command line, walk, print the table."""
    parser = cli.parser(
        "Take two steps and one evaluation of everything that a params file would train.",
        "python -m pipeline.walk --params params/paper.yaml",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*PARTS, RAY),
        default=(*PARTS, RAY),
        metavar="PART",
        help=f"of {', '.join((*PARTS, RAY))}: those alone",
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="of each part those with a label among these"
    )
    parser.add_argument(
        "--sample", type=_count, metavar="N", help="so many of each part, from all over it"
    )
    call = cli.call(parser.parse_args())

    rows = []
    with tempfile.TemporaryDirectory(prefix="walk-", ignore_cleanup_errors=True) as scratch:
        for row in walk(call, Path(scratch)):
            rows.append(row)
            print(table.line(row), flush=True)

    print(f"\n{table.text(rows)}")
    if any(row.failed for row in rows):
        sys.exit(1)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number of trainings")
    return int(text)


if __name__ == "__main__":
    cli.main(main)
