"""`python -m pipeline.shards verify DIR`: one line a problem and exit code 1, or a word that all is well."""

import argparse
from pathlib import Path

from pipeline.cli import main
from pipeline.shards.manifest import Manifest
from pipeline.shards.verify import verify


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.shards", description="Look after folders of shards.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="compare every shard with the manifest")
    check.add_argument("folder", type=Path, metavar="DIR", help="folder that holds manifest.json")
    check.add_argument("--split", action="append", choices=("train", "val"), help="check this split alone; repeatable")
    args = parser.parse_args()
    problems = verify(args.folder, args.split)
    for problem in problems:
        print(problem)
    if problems:
        raise SystemExit(1)
    entries = Manifest.load(args.folder).splits.values()
    print(f"{args.folder}: {sum(len(entry.shards) for entry in entries)} shards as in the manifest")


if __name__ == "__main__":
    main(_main)
