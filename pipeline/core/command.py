"""What every command is: help that fits a terminal, one sentence where it fails, an end where it is
asked to end.
"""

import argparse
import io
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from pipeline.core import environment, watchdog
from pipeline.core.errors import DiskFull, UserError, denied, disk_full

SAME_REQUEST_S = 1.0
COLUMNS = 80


class Help(argparse.HelpFormatter):
    """Help of at most 80 columns, with the defaults that say something."""

    def __init__(self, prog: str, **options: Any) -> None:
        columns = min(COLUMNS, shutil.get_terminal_size().columns)
        super().__init__(prog, **{"width": columns - 2, **options})

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        says_little = default is None or isinstance(default, (bool, list, tuple))
        if says_little or argparse.SUPPRESS in (default, action.help) or not action.option_strings:
            return action.help
        return f"{action.help or ''} (default: %(default)s)".lstrip()


class Parser(argparse.ArgumentParser):
    """A parser with such help, as its subparsers have it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """Return a parser without options.

    Args:
        description: what the command does.
        example: how it is typed; its first three words, `python -m NAME`, are the command's name.
    """
    name = " ".join(example.split()[:3])
    return Parser(prog=name, description=description, epilog=f"example: {example}")


def main(run: Callable[[], None]) -> None:
    """Run a command; bad input ends it with one sentence and exit code 2 (a full disk: 1), never a
    traceback. A reader that stops early, as `head` does, ends it with 141.

    Being asked to end (Ctrl-C, SIGTERM, a closed terminal) is an end like any other, what is open
    is closed, also where it would print to a terminal that is gone; the exit code is 128 and the
    signal's number: 130 after Ctrl-C, 143 after SIGTERM.
    """
    environment.prepare()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what a terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    signals = _listen()
    code: object = 1

    try:
        code = _run(run)
    except SystemExit as error:  # inside one of Ray's calls an exit loses its code
        code = error.code
    except Exception:
        if not signals:
            raise  # otherwise it is what the same signal did to others, on whom this command called

    sys.exit(128 + signals[0] if signals else code)  # type: ignore[arg-type]


def _listen() -> list[int]:
    """Let the first request to end break off what is being done, and the next ones too, a moment
    later.

    Returns:
        The requests so far. `timeout` sends one twice, to its command and to the group, which is
        one request.
    """
    signals: list[int] = []
    last = 0.0

    def end(number: int, _: object) -> None:
        nonlocal last
        if signals and time.monotonic() - last < SAME_REQUEST_S:
            return
        last = time.monotonic()
        signals.append(number)
        watchdog.ending.set()
        leave_closed_terminal()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit

    for number in watchdog.ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup`, or a shell's background job
            signal.signal(number, end)
    return signals


def _run(run: Callable[[], None]) -> int | str | None:
    """Run a command and return its exit code."""
    try:
        run()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _unread(sys.stdout):
            raise
        return 128 + signal.SIGPIPE
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DiskFull) else 2
    except OSError as error:
        known = disk_full(error) or denied(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def leave_closed_terminal() -> None:
    """Print no more where nobody reads it: what is open is to be closed all the same."""
    for stream in (sys.stdout, sys.stderr):
        _unread(stream)


def _unread(stream: TextIO) -> bool:
    """Return whether nobody reads what this process prints, as after `| head`, or on a terminal
    that was closed; it prints no more then.
    """
    output = select.poll()
    output.register(stream, select.POLLOUT)
    unread = any(event & select.POLLERR for _, event in output.poll(0))
    if unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return unread
