"""Processes that end with those they work for.

DVC's stage goes on when `dvc repro` is killed, and the next `dvc repro` would start a second one
beside it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.environment import SESSION

if TYPE_CHECKING:
    import psutil

POLL_S = 0.2
ENDINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""How a process is asked to end: Ctrl-C, `kill` and schedulers, a terminal that is closed."""
GRACE_S = 30.0
ending = threading.Event()
"""Set when this process was asked to end, and is closing what is open."""
SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh")


def follow_callers() -> None:
    """End this process when the `dvc` that started it as a stage ends, or the session that it is
    part of.
    """
    if "DVC_STAGE" in os.environ and (above := _above_shells()) is not None:
        follow(above)
    if (session := os.environ.get(SESSION)) is not None:
        follow(int((Path(session) / "owner").read_text()))


def follow(pid: int) -> None:
    """End this process with SIGKILL, as soon as process `pid` is gone: a kill is what every stage
    survives.
    """
    import psutil

    try:
        watched = psutil.Process(pid)
    except psutil.NoSuchProcess:
        _end(f"process {pid}")
        return

    def watch() -> None:
        pause = threading.Event()
        while alive(watched):
            pause.wait(POLL_S)
        _end(f"process {pid}")

    threading.Thread(target=watch, daemon=True, name="watchdog").start()


@contextmanager
def shielded() -> Iterator[None]:
    """Start processes in the block that no request to end reaches: whoever starts them ends them,
    or is followed.
    """
    resource_tracker.ensure_running()  # whose start, with the first process, would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)  # what is started inherits the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def alive(process: "psutil.Process | int") -> bool:
    """Return whether a process, or the one of this number, runs; one that has ended and waits to be
    asked how does not.
    """
    import psutil

    try:
        if isinstance(process, int):
            process = psutil.Process(process)
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _above_shells() -> int | None:
    """Return the nearest ancestor that is no shell, or None where there is none left."""
    import psutil

    for ancestor in psutil.Process().parents():
        if ancestor.name().removesuffix(".exe") not in SHELLS:
            return None if ancestor.pid == 1 else ancestor.pid
    return None


def _end(whom: str) -> None:
    if ending.wait(POLL_S):
        time.sleep(GRACE_S)  # usually this process has ended by then
    print(f"{whom}, which this one worked for, is gone; ending", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
