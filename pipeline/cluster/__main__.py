"""`python -m pipeline.cluster -- dvc repro`: a command with one Ray head for all the stages in
it.
"""

import argparse
from pathlib import Path

from pipeline.cluster.head import hold
from pipeline.cluster.session import run_session
from pipeline.core import command
from pipeline.params import Cluster


def main() -> None:
    """Run a command as a session, or be its head."""
    parser = command.parser(
        "Run a command with one Ray head for all the stages in it.",
        "python -m pipeline.cluster -- dvc repro",
    )
    parser.add_argument("--head", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--cpus", type=float, default=1, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help="the command, after --")

    args = parser.parse_args()
    if args.head:
        hold(args.head, Cluster(workers=args.workers, cpus_per_worker=args.cpus))
    else:
        raise SystemExit(run_session(args.command))


if __name__ == "__main__":
    command.main(main)
