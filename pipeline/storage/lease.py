"""One machine at a time: a lock in a store, which knows of no process that dies.

A lease is an object with a number, created only once, and renewed as long as its holder lives. Who
wants it watches the newest one, by its own clock: one that was given back, or has not changed for a
while, is followed by the next number, which only one can create. A lease saves work and nothing
else: what two write at once harms neither (`pipeline.storage.copies`), so that a holder that was
cut off for longer goes on.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import write_text
from pipeline.core.locks import Busy, holder_of, signature
from pipeline.core.progress import say
from pipeline.storage.remote import Missing, ObjectFolder, Unreachable

RENEW_S = 15.0
LAPSE_S = 75.0
"""A lease that has not changed for so long is nobody's."""
POLL_S = 3.0
FOLDER = "lease"


@contextmanager
def leased(
    objects: ObjectFolder,
    note: Path,
    what: str,
    wait: bool = True,
    say: Callable[[str], None] = say,
) -> Iterator[None]:
    """Hold the lease of a run in a store for the duration of the block.

    Args:
        objects: the run's objects.
        note: a file of this machine that says which lease was taken here; the caller holds a lock
            for it, so that the process that took the lease is gone.
        what: what the lease is about, for the one who waits.
        wait: wait for the holder, after saying who it is.
        say: where to say it.

    Raises:
        Busy: somebody holds the lease and `wait` is False.
        Unreachable: the store does not answer.
        UserError: the store creates an object that is there already.
    """
    lease = _Lease(objects, note)
    lease.take(what, wait, say)
    given_back = threading.Event()
    renewing = threading.Thread(target=lease.renew, args=(given_back,), name="lease", daemon=True)
    renewing.start()

    try:
        yield
    finally:
        given_back.set()
        renewing.join()
        with suppress(Unreachable):
            objects.write(lease.name, lease.content(free=True))


class _Lease:
    """A lease that this process holds or wants."""

    def __init__(self, objects: ObjectFolder, note: Path) -> None:
        self.objects = objects
        self.note = note
        self.name = ""
        self.signed = {name: signature()[name] for name in ("pid", "host", "since")}
        self.token = os.urandom(8).hex()

    def content(self, beat: int = 0, free: bool = False) -> bytes:
        """Return what stands in the lease: who holds it, and that it was given back."""
        return json.dumps({**self.signed, "token": self.token, "beat": beat, "free": free}).encode()

    def take(self, what: str, wait: bool, say: Callable[[str], None]) -> None:
        """Take the lease, once nobody has it."""
        seen = b""
        since = 0.0
        announced = False

        while True:
            numbers = sorted(self.objects.sizes(FOLDER))
            newest = self._read(numbers[-1]) if numbers else b""
            # the holder's last sign of life, by the clock here: those of two machines differ
            if newest != seen or not since:
                seen = newest
                since = time.monotonic()

            lapsed = time.monotonic() - since > LAPSE_S
            if not numbers or lapsed or _free(newest, self.note):
                if self._create(numbers):
                    return
                continue
            busy = f"{what} is being done by {holder_of(newest)}"
            if not wait:
                raise Busy(busy)
            if not announced:
                say(f"{busy}; waiting for it")
                announced = True
            time.sleep(POLL_S)

    def renew(self, given_back: threading.Event) -> None:
        """Show now and then that the holder lives."""
        beat = 0
        while not given_back.wait(RENEW_S):
            beat += 1
            with suppress(Unreachable):
                self.objects.write(self.name, self.content(beat))

    def _read(self, number: str) -> bytes:
        try:
            return self.objects.read(f"{FOLDER}/{number}")
        except Missing:  # followed by the next just now
            return b""

    def _create(self, numbers: list[str]) -> bool:
        """Create the next number; say whether nobody else did."""
        last = int(numbers[-1].partition(".")[0]) if numbers else 0
        self.name = f"{FOLDER}/{last + 1:06d}.json"
        # noted first: after a kill the next process here knows the lease for its own
        write_text(self.note, self.token)
        if not self.objects.create(self.name, self.content()):
            return False
        if not numbers and self.objects.create(self.name, self.content()):
            self.objects.remove([self.name])
            raise UserError(
                f"{self.objects.shown()}: the store writes over an object that is to be created "
                "only once (If-None-Match: *), so it can keep no runs; use one with conditional "
                "writes"
            )

        self.objects.remove(f"{FOLDER}/{number}" for number in numbers)
        return True


def _free(content: bytes, note: Path) -> bool:
    """Say whether a lease was given back, or taken by a process of this machine that is gone."""
    try:
        lease = json.loads(content)
        return bool(lease["free"]) or (note.exists() and lease["token"] == note.read_text())
    except (ValueError, KeyError, TypeError):
        return False
