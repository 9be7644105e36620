"""Runs of this project, here and on clusters: `python -m pipeline.jobs list`.

`status`, `logs`, `attach` and `stop` take the name of a submitted job or the id of a run, as `list`
shows them.
"""

from pathlib import Path

from pipeline.core.errors import UserError, nearest
from pipeline.project import cli
from pipeline.submission.known import Known, known


def main() -> None:
    """Read the command line, find what it names, do it."""
    parser = cli.parser(
        "What this project trains and has trained, here and on clusters.",
        "python -m pipeline.jobs list",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("list", help="all jobs and runs, the newest first")
    for verb, text in (
        ("status", "how one stands"),
        ("logs", "what one printed"),
        ("attach", "follow one to its end; Ctrl-C leaves it"),
        ("stop", "ask one to end; what is trained is kept"),
    ):
        subparser = verbs.add_parser(verb, help=text)
        subparser.add_argument("name", help="a job's name, a run's id, or the beginning of one")

    call = cli.call(parser.parse_args())
    entries = known(call)
    if call.args.verb == "list":
        _print_table(entries, call.folders.root)
    else:
        getattr(_find(entries, call.args.name), call.args.verb)()


def _print_table(entries: list[Known], root: Path) -> None:
    if not entries:
        print(f"nothing was trained or submitted from {root} yet")
        return
    rows = [
        ("NAME", "STATE", "WHAT"),
        *((entry.name, entry.state, entry.what) for entry in entries),
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, state, what in rows:
        print(f"{name:<{widths[0]}}  {state:<{widths[1]}}  {what}")


def _find(entries: list[Known], name: str) -> Known:
    """Return the one that is called so, or whose name alone begins so.

    Raises:
        UserError: there is none, or more than one.
    """
    same = [entry for entry in entries if entry.name == name]
    matches = same or [entry for entry in entries if entry.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(
            f"'{name}' may be {', '.join(entry.name for entry in matches)}; give more of it"
        )
    raise UserError(f"no job or run '{name}'; {nearest(name, [entry.name for entry in entries])}")


if __name__ == "__main__":
    cli.main(main)
