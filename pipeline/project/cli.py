"""What every stage command shares: its options, its folders, and how it fails.

`python -m pipeline.<verb> [names] [--params FILE] [--set a.b.c=value]... [--out DIR]`
"""

import argparse
import io
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.core import environment, watchdog
from pipeline.core.errors import DiskFull, UserError, disk_full
from pipeline.params import load
from pipeline.project.call import Call, Folders

SAME_REQUEST_S = 1.0


def words_of(stage: str) -> list[str]:
    """Return `classify` and `dwnet_tiny` for the DVC stage `classify@dwnet_tiny`, and any other
    word as it is.
    """
    address, sign, name = stage.rpartition("@")
    return [address.rpartition(":")[2], name] if sign else [stage]


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser with the options that every stage takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--params", metavar="FILE", help="another params file (default: params.yaml)")
    made.add_argument(
        "--set",
        metavar="a.b.c=value",
        action="append",
        default=[],
        help="change one parameter; repeatable",
    )
    made.add_argument(
        "--out",
        metavar="DIR",
        help="write under DIR (default with --params or --set: adhoc/<params name>/)",
    )
    return made


def call(args: argparse.Namespace) -> Call:
    """Validate the parameters and choose the folders; end with the `dvc` or session that started
    it.
    """
    watchdog.follow_callers()
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


def main(run: Callable[[], None]) -> None:
    """Run a command; bad input ends it with one sentence and exit code 2 (a full disk: 1), never a
    traceback.

    Being asked to end (Ctrl-C, SIGTERM, a closed terminal) is an end like any other, what is open
    is closed; the exit code is 128 and the signal's number: 130 after Ctrl-C, 143 after SIGTERM.
    """
    environment.prepare()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what a terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    asked = _listen()
    code: object = 1
    try:
        code = _run(run)
    except SystemExit as error:  # inside one of Ray's calls an exit loses its code
        code = error.code
    except Exception:
        if not asked:
            raise  # otherwise it is what the same signal did to others, on whom this command called
    sys.exit(128 + asked[0] if asked else code)  # type: ignore[arg-type]


def _listen() -> list[int]:
    """Let the first request to end break off what is being done, and the next ones too, a moment
    later.

    Returns:
        The requests so far. `timeout` sends one twice, to its command and to the group, which is
        one request.
    """
    asked: list[int] = []
    last = 0.0

    def end(number: int, _: object) -> None:
        nonlocal last
        if asked and time.monotonic() - last < SAME_REQUEST_S:
            return
        last = time.monotonic()
        asked.append(number)
        watchdog.ending.set()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit

    for number in watchdog.ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup`, or a shell's background job
            signal.signal(number, end)
    return asked


def _run(run: Callable[[], None]) -> int | str | None:
    """Run a command and return its exit code."""
    try:
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DiskFull) else 2
    except OSError as error:
        if (full := disk_full(error)) is None:
            raise
        print(f"error: {full}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
