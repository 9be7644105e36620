"""Every parameter that `--set` takes: `python -m pipeline.params [--search WORD]`."""

import shutil
from pathlib import Path

from pipeline.core import command
from pipeline.core.errors import UserError
from pipeline.core.files import write_text
from pipeline.params.listing import page, parameters


def main() -> None:
    """Print key and default, what it may be, and what it means."""
    parser = command.parser(
        "Every parameter by the key that --set takes: default, range, unit, meaning.",
        "python -m pipeline.params --search dropout",
    )
    parser.add_argument("--search", metavar="WORD", help="those with WORD in key or meaning")
    parser.add_argument("--markdown", metavar="FILE", help="write them as a page of tables")
    args = parser.parse_args()

    word = args.search or ""
    matches = [parameter for parameter in parameters() if parameter.matches(word)]
    if not matches:
        raise UserError(f"no parameter has '{word}' in its key or meaning; try a part of the word")
    if args.markdown:
        write_text(Path(args.markdown), page(matches))
        return

    columns = shutil.get_terminal_size().columns
    for parameter in matches:
        print(parameter.text(columns))


if __name__ == "__main__":
    command.main(main)
