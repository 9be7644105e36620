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
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.project import cli
from pipeline.project.call import Call
from pipeline.rehearsal import table
from pipeline.rehearsal.data import shards_of
from pipeline.rehearsal.places import PARTS, Place, places_of, spread
from pipeline.rehearsal.small import small
from pipeline.rehearsal.steps import Process
from pipeline.rehearsal.table import Row
from pipeline.rehearsal.under_ray import WORKERS, walk_under_ray

RAY = "ray"


def main() -> None:
    """Read the command line, walk, print the table."""
    parser = cli.parser(
        "Take two steps and one evaluation of everything that a params file would train."
    )
    parser.add_argument(
        "--only", nargs="+", choices=(*PARTS, RAY), default=(*PARTS, RAY), help="parts to walk"
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


def walk(call: Call, scratch: Path) -> Iterator[Row]:
    """Walk the parts that were asked for, yielding each row as it is known.

    Raises:
        UserError: nothing of the params file was asked for, or its space or design is wrong.
    """
    args = call.args
    read = {
        part: places_of(call.params, part)
        for part in PARTS
        if part in args.only or (RAY in args.only)
    }
    asked = [part for part in read if part in args.only]
    places = [
        place for part in asked for place in spread(_named(read[part][0], args.names), args.sample)
    ]
    ray = [read[part][0][0] for part in WORKERS if read[part][0]] if RAY in args.only else []
    if not places + ray:
        raise UserError(
            "nothing to walk: the params file has nothing of what --only and --names ask for"
        )
    shards: dict[str, Path] = {
        name: shards_of(name, call.params.shard, scratch)
        for name in sorted({place.section.dataset for place in places + ray})
    }
    yield from _alone(places, shards, scratch)
    yield from (
        Row(left.part, left.label, note=left.reason) for part in asked for left in read[part][1]
    )
    if ray:
        for place, outcome in zip(ray, walk_under_ray(call, ray, shards, scratch), strict=True):
            yield Row(RAY, f"{place.part} {place.label}", outcome)


def _named(places: list[Place], names: list[str] | None) -> list[Place]:
    return [
        place
        for place in places
        if names is None or set(names) & {place.label, *place.label.split()}
    ]


def _alone(places: list[Place], shards: dict[str, Path], scratch: Path) -> Iterator[Row]:
    """Walk places one after the other, each training once: another tier may have the same one made
    small.
    """
    process, trained = Process(), dict[str, Place]()
    for place in places:
        first = trained.setdefault(small(place, 1).decides, place)
        if first is not place:
            yield Row(
                place.part,
                place.label,
                note=f"the same training as {first.part} {first.label}, made small",
            )
            continue
        yield Row(
            place.part, place.label, process.take(place, shards[place.section.dataset], scratch)
        )
    process.close()


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number of trainings")
    return int(text)


if __name__ == "__main__":
    cli.main(main)
