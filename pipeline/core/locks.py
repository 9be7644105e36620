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
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Busy(Exception):
    """Somebody else holds the lock; the message says who."""


@contextmanager
def held(
    path: Path, what: str, wait: bool = True, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path` for the duration of the block.

    The kernel releases it when the holding process ends, so no lock is ever stale.

    Args:
        path: the lock file; made where it is missing, left in place afterwards.
        what: what the lock is about, for the one who waits.
        wait: wait for the holder, after saying who it is.
        say: where to say it; standard output where None.

    Raises:
        Busy: the lock is held and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"{what} is being done by {_holder(file)}"
            if not wait:
                raise Busy(busy) from None
            (say or _say)(f"{busy}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        _sign(file)
        yield


def _sign(file: IO[str]) -> None:
    """Write who holds the lock; nothing depends on it but the sentence for those who wait."""
    file.truncate(0)
    me = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.time(),
        "command": " ".join(sys.argv)[:200],
    }
    file.write(json.dumps(me))
    file.flush()


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        holder = json.loads(file.read())
        since = time.strftime("%H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ):  # it has the lock, and has not signed yet
        return "another process"


def _say(sentence: str) -> None:
    print(sentence, flush=True)
