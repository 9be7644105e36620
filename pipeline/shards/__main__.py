"""`python -m pipeline.shards verify DIR [--url URL]`: one line a problem and exit code 1, or that
all is well.
"""

from pathlib import Path

from pipeline.core import command
from pipeline.shards.manifest import Manifest
from pipeline.shards.verify import verify, verify_remote
from pipeline.storage.remote import RemoteFolder


def _main() -> None:
    parser = command.parser(
        "Look after folders of shards.", "python -m pipeline.shards verify data/shards/imagenet"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="compare every shard with the manifest")
    check.add_argument("folder", type=Path, metavar="DIR", help="folder that holds manifest.json")
    check.add_argument(
        "--split",
        action="append",
        choices=("train", "val"),
        help="check this split alone; repeatable",
    )
    check.add_argument(
        "--url",
        help="read the shards from here (a copy of DIR), with DIR's manifest as the measure",
    )

    args = parser.parse_args()
    if args.url and args.split:
        parser.error("--url checks all splits")

    remote = RemoteFolder(args.url) if args.url else None
    problems = (
        verify_remote(remote, args.folder, content=True)
        if remote
        else verify(args.folder, args.split)
    )

    for problem in problems:
        print(problem)
    if problems:
        raise SystemExit(1)

    entries = Manifest.load(args.folder).splits.values()
    where = remote.shown() if remote else args.folder
    print(f"{where}: {sum(len(entry.shards) for entry in entries)} shards as in the manifest")


if __name__ == "__main__":
    command.main(_main)
