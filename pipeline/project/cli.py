"""What every stage command shares: its options, its folders, and how it fails.

`python -m pipeline.<verb> [names] [--params FILE] [--set a.b.c=value]... [--out DIR]`
"""

import argparse
from pathlib import Path

from pipeline.core import command, watchdog
from pipeline.core.command import main
from pipeline.core.errors import UserError
from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.project.schedule import announce

__all__ = ["call", "main", "parser", "words_of"]


def words_of(stage: str) -> list[str]:
    """Return `classify` and `dwnet_tiny` for the DVC stage `classify@dwnet_tiny`, and any other
    word as it is.
    """
    address, sign, name = stage.rpartition("@")
    return [address.rpartition(":")[2], name] if sign else [stage]


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """Return an argument parser with the options that every stage takes; `example` is how the
    command is typed.
    """
    argument_parser = command.parser(description, example)
    argument_parser.add_argument(
        "--params", metavar="FILE", help="another params file (default: params.yaml)"
    )
    argument_parser.add_argument(
        "--set",
        metavar="a.b.c=value",
        action="append",
        default=[],
        help="change what python -m pipeline.params lists; repeatable",
    )
    argument_parser.add_argument(
        "--out",
        metavar="DIR",
        help="write under DIR (default with --params or --set: adhoc/<params name>/)",
    )
    return argument_parser


def call(args: argparse.Namespace) -> Call:
    """Validate the parameters and choose the folders; end with the `dvc` or session that started
    it.
    """
    watchdog.follow_callers()
    announce()
    project = Path.cwd()
    path = Path(args.params or "params.yaml")
    params = load(path, args.set)
    adhoc = args.params is not None or bool(args.set)
    root = Path(args.out) if args.out else project / "adhoc" / path.stem if adhoc else project

    if adhoc and root.resolve() == project:
        raise UserError(
            "--out names the project itself, where only calls without --params and --set may write"
        )
    return Call(args, params, project, Folders(root.resolve()))
