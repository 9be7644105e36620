"""A session: commands that share one Ray head.

The first stage in it that needs Ray starts a head, the later ones reuse it, and it ends with the
session.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core import environment
from pipeline.core.command import leave_closed_terminal
from pipeline.core.environment import SESSION
from pipeline.core.errors import UserError
from pipeline.core.files import write_text
from pipeline.core.locks import locked
from pipeline.core.watchdog import ENDINGS, alive
from pipeline.params import Cluster
from pipeline.project.schedule import write_schedule

START_LIMIT_S = 600  # for all tries, on a busy machine; a head that gives up ends by itself


def session_head(folder: Path, cluster: Cluster) -> str:
    """Return the address of the session's head, started on first use and again where it died.

    It is a process group of its own: a signal to this one's group leaves Ray alone until what is
    open is closed.
    """
    address = folder / "address"
    with locked(folder / "lock"):
        if not _answers(folder):
            _forget_head(folder)
            size = ["--workers", str(cluster.max_workers), "--cpus", str(cluster.cpus_per_worker)]
            command = [sys.executable, "-m", "pipeline.cluster", "--head", str(folder), *size]
            with open(folder / "head.log", "wb") as log:
                head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            _wait_for(address, head, folder / "head.log")

    return address.read_text()


def _answers(folder: Path) -> bool:
    """Return whether the session's head runs and listens."""
    try:
        host, _, port = (folder / "address").read_text().rpartition(":")
        os.kill(int((folder / "head").read_text()), 0)
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        return False
    return True


def _forget_head(folder: Path) -> None:
    """End what is left of a head that died."""
    head = folder / "head"
    if head.exists():
        print("the local Ray head died; starting it again", flush=True)
        with suppress(OSError, ValueError):
            os.killpg(int(head.read_text()), signal.SIGKILL)
        head.unlink()
    (folder / "address").unlink(missing_ok=True)


def _wait_for(address: Path, head: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not address.exists():
        if head.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise UserError(
                "the local Ray head did not start: "
                f"{' '.join(tail) or f'silent for {START_LIMIT_S} s'}"
            )
        time.sleep(0.1)


@contextmanager
def new_session() -> Iterator[str]:
    """Make this process the owner of a session for the block: the head that is started in it ends
    with it.
    """
    environment.own_token()  # one for all the stages, also where none can lie in the home
    folder = Path(tempfile.mkdtemp(prefix="session-"))
    write_text(folder / "owner", str(os.getpid()))
    try:
        yield str(folder)
    finally:
        _end_head(folder)
        shutil.rmtree(folder, ignore_errors=True)


def run_session(
    *commands: list[str],
    stages: dict[str, float | None] | None = None,
    begin: Callable[[int], None] = lambda number: None,
) -> int:
    """Run commands one after the other, until one fails, as a session; return the exit code.

    `stages` are those that DVC will run in them, and the seconds of each, as far as is known.
    `begin` is called before each command, with its number from 0.

    They are a process group of their own: whichever way this process is asked to end, they are
    asked once, by SIGINT, which DVC leaves to its stage, and are waited for.
    """
    signals: list[int] = []
    with new_session() as folder:
        if stages is not None:
            write_schedule(Path(folder), stages)
        for number, command in enumerate(commands):
            begin(number)
            code = _run(command, folder, signals)
            if signals or code:
                break

    return 128 + signals[0] if signals else code


def _run(command: list[str], folder: str, signals: list[int]) -> int:
    groups: list[int] = []

    def forward(number: int, _: object) -> None:
        signals.append(number)
        leave_closed_terminal()
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGINT)

    for number in ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
        elif number == signal.SIGINT:  # ignored by us, it must still end the command
            signal.signal(number, lambda *_: None)

    process = subprocess.Popen(command, env={**os.environ, SESSION: folder}, process_group=0)
    groups.append(process.pid)
    # a signal may have come before there was a group to pass it on to
    if signals:
        os.killpg(process.pid, signal.SIGINT)

    return process.wait()


def _end_head(folder: Path) -> None:
    (folder / "owner").unlink(missing_ok=True)
    head = folder / "head"
    deadline = time.monotonic() + 20
    while head.exists() and alive(int(head.read_text())) and time.monotonic() < deadline:
        time.sleep(0.1)

    if head.exists():
        with suppress(OSError, ValueError):
            os.killpg(int(head.read_text()), signal.SIGKILL)
