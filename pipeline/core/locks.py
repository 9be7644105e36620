"""One process at a time: a lock that ends with its holder, however that ends, and says who it
is.
"""

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.progress import say


class Busy(Exception):
    """Somebody else holds the lock; the message says who."""


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[int]:
    """Hold the lock of a file, made where it is missing, and yield a descriptor of it.

    The kernel releases it when the holding process ends, so no lock is ever stale.

    Raises:
        BlockingIOError: the lock is held and `wait` is False.
    """
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield number
    finally:
        os.close(number)


@contextmanager
def held(
    path: Path, what: str, wait: bool = True, say: Callable[[str], None] = say
) -> Iterator[None]:
    """Hold the lock file `path` for the duration of the block, and write into it who does.

    Args:
        path: the lock file; made where it is missing, left in place afterwards.
        what: what the lock is about, for the one who waits.
        wait: wait for the holder, after saying who it is.
        say: where to say it.

    Raises:
        Busy: the lock is held and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            number = stack.enter_context(locked(path, wait=False))
        except BlockingIOError:
            busy = f"{what} is being done by {_holder(path)}"
            if not wait:
                raise Busy(busy) from None
            say(f"{busy}; waiting for it")
            number = stack.enter_context(locked(path))

        _sign(number)
        yield


def signature() -> dict[str, Any]:
    """Return who this process is, for those who wait for it."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.time(),
        "command": " ".join(sys.argv)[:200],
    }


def holder_of(text: str | bytes) -> str:
    """Return who signed what stands in a lock; nothing depends on it but a sentence."""
    try:
        holder = json.loads(text)
        since = time.strftime("%H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"  # it has the lock, and has not signed yet


def _sign(number: int) -> None:
    """Write who holds the lock; nothing depends on it but the sentence for those who wait."""
    os.truncate(number, 0)
    os.write(number, json.dumps(signature()).encode())


def _holder(path: Path) -> str:
    try:
        return holder_of(path.read_bytes())
    except OSError:
        return "another process"
