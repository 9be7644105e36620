"""Following a job: its state by asking for it, its log by a stream that may break at any time.

The end of the stream means nothing: it also ends where a connection was closed. What has been shown
is counted, so a stream that is opened again goes on where the one before broke off.
"""

import asyncio
import re
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline.core.locks import Busy, held
from pipeline.core.progress import say
from pipeline.submission.client import Dashboard, Gone

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

POLL_S = 1.0
PENDING_S = 15.0
OF_RAY = re.compile(r"\S+ \S+\tINFO job_manager\.py|Running entrypoint for job ")
"""Lines at a log's head that say nothing about the stage."""


class Log:
    """What a job printed: kept in a file, shown as it arrives, each line once.

    The file tells the next follower how much was shown; where another process follows the same job
    already, this one shows all and keeps nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open = ExitStack()
        self._file: IO[str] | None = None
        self._done = 0

    def __enter__(self) -> "Log":
        with suppress(Busy):
            lock = self._path.with_suffix(".lock")
            self._open.enter_context(held(lock, "following the job", wait=False))
            self._path.touch()
            self._done = len(_text(self._path))
            file = open(self._path, "a", encoding="utf-8", newline="")
            self._file = self._open.enter_context(file)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def take(self, position: int, text: str) -> None:
        """Show what is new in a piece that begins `position` characters from the log's head."""
        self._show(text[max(0, self._done - position) :])

    def _show(self, text: str) -> None:
        if not text:
            return
        if self._file is not None:
            self._file.write(text)
            self._file.flush()

        self._done += len(text)
        lines = [line for line in text.splitlines() if not OF_RAY.match(line)]
        if lines:
            print("\n".join(lines), flush=True)


def _text(path: Path) -> str:
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def follow(dashboard: Dashboard, name: str, log: Log) -> "JobDetails":
    """Show a job's log until the job has ended; return how it did.

    Raises:
        UserError: the dashboard does not answer any more.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_stream, args=(dashboard, name, log, stop), daemon=True)
    thread.start()
    since = time.monotonic()
    announced = False

    try:
        while True:
            job = dashboard.find(name)
            if job is None:
                raise Gone(
                    f"the cluster knows nothing of {name} any more; give the same command again, "
                    "which continues what is kept of its runs"
                )
            if job.status.is_terminal():
                break
            if job.status == "PENDING" and not announced and time.monotonic() - since > PENDING_S:
                say(f"{name} waits for a place in the cluster; Ctrl-C leaves it waiting")
                announced = True
            stop.wait(POLL_S)
    finally:
        stop.set()

    thread.join(POLL_S * 5)
    log.take(0, dashboard.log(name))
    return job


def _stream(dashboard: Dashboard, name: str, log: Log, stop: threading.Event) -> None:
    """Open the stream again and again, from the log's beginning each time."""
    while not stop.is_set():
        with suppress(Exception):
            # whatever a proxy, a head or a socket does: the next one may hold
            asyncio.run(_read(dashboard, name, log, stop))
        stop.wait(POLL_S)


async def _read(dashboard: Dashboard, name: str, log: Log, stop: threading.Event) -> None:
    """Show what a stream brings beyond what was shown; a line that is not ended yet waits."""
    stream = dashboard.tail(name)
    position = 0
    rest = ""
    while not stop.is_set():
        pending = asyncio.ensure_future(anext(stream))
        while not pending.done() and not stop.is_set():
            await asyncio.wait({pending}, timeout=POLL_S)
        if not pending.done():
            pending.cancel()
            return

        rest += pending.result()
        end = rest.rfind("\n") + 1
        log.take(position, rest[:end])
        position += end
        rest = rest[end:]
