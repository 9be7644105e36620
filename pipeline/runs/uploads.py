"""Checkpoints on their way to a store: beside the training, never on a step's way.

Before the first step rank 0 calls `download_newest`, then `ensure_uploaded` for the checkpoint that
it chose; the other ranks call `fetch_chosen`. After each later checkpoint `enqueue` returns at
once, and a thread uploads the newest that waits. At the end comes `upload_finished`.
"""

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import Unreadable, UserError
from pipeline.core.files import write_json
from pipeline.runs import checkpoint
from pipeline.runs.run import Run
from pipeline.runs.stored import StoredRun, checkpoint_files
from pipeline.storage.copies import Damaged
from pipeline.storage.remote import Unreachable

Say = Callable[[str], None]


class Chosen(NamedTuple):
    """The checkpoint that all ranks continue from: its folder's name, its digest, its seal in the
    store where it is there.
    """

    name: str
    sha256: str
    seal: str | None


class Uploads:
    """What rank 0 does about a store: nothing, for a run whose folder all machines see."""

    def download_newest(self) -> None:
        """Download the newest whole checkpoint, where the one here is older."""

    def ensure_uploaded(self, path: Path) -> Chosen | None:
        """Upload a checkpoint unless it is there; None where all machines see its folder."""

    def enqueue(self, step: int) -> None:
        """Let a checkpoint be uploaded after the one that is just now; return at once."""

    def upload_finished(self) -> None:
        """Upload a finished run."""

    def close(self) -> None:
        """Wait until what was enqueued is uploaded, or cannot be."""


@dataclass(frozen=True)
class Waiting:
    """A checkpoint that waits; its files are linked in `folder`, since the run's own keeps only the
    last.
    """

    step: int
    folder: Path
    files: dict[str, Path] = field(default_factory=dict)


class StoreUploads(Uploads):
    """Uploads a run's checkpoints, one at a time, of those that wait the newest."""

    def __init__(self, run: Run, stored: StoredRun, say: Say) -> None:
        """Prepare the folder of what waits; `say` takes sentences for people."""
        self._run = run
        self._stored = stored
        self._say = say
        self._store = stored.store
        self._outbox = run.folder / "outbox"

        self._skip_existing = True
        self._failing = False
        self._changed = threading.Condition()
        self._waiting: Waiting | None = None
        self._busy = False
        self._closed = False

        shutil.rmtree(self._outbox, ignore_errors=True)
        write_json(run.folder / "decides.json", run.decides)
        self._thread = threading.Thread(target=self._work, name="uploads", daemon=True)

    def download_newest(self) -> None:
        """Download the newest whole checkpoint, where the one here is older.

        Raises:
            Unreadable: the store does not answer, and there is none here.
        """
        try:
            self._skip_existing = self._stored.download_newest(self._run.folder, self._say)
            self._store.prune(checkpoint.KEEP)  # files that a killed upload left, too
        except Unreachable as error:
            self._stored.go_on_locally(self._run.folder, str(error), self._say)
            self._failing = True

    def ensure_uploaded(self, path: Path) -> Chosen:
        """Upload a checkpoint unless it is there, so that every machine can have it."""
        seal = None
        try:
            seal = self._stored.ensure_uploaded(self._run.folder, path.name, self._skip_existing)
        except Unreachable as error:
            self._failed(int(path.name), error)
        return Chosen(path.name, str(checkpoint.digest_of(path)), seal)

    def enqueue(self, step: int) -> None:
        """Link a checkpoint's files, and let them be uploaded after those that are just now."""
        folder = self._outbox / f"{step:09d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        waiting = Waiting(step, folder)

        files = checkpoint_files(self._run.folder, folder.name)
        # linked, as the run's folder may drop this checkpoint before it is up
        for number, (name, path) in enumerate(files.items()):
            waiting.files[name] = folder / str(number)
            _link(path, waiting.files[name])

        self._replace(waiting)
        if not self._thread.is_alive():
            self._thread.start()

    def upload_finished(self) -> None:
        """Upload a finished run; what waits is not needed any more."""
        self._replace(None)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
        sentence = self._stored.upload_finished(self._run.folder)
        if sentence is not None:
            self._say(sentence)

    def close(self) -> None:
        """Wait until what was enqueued is uploaded, or cannot be."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        shutil.rmtree(self._outbox, ignore_errors=True)

    def _replace(self, waiting: Waiting | None) -> None:
        with self._changed:
            earlier = self._waiting
            self._waiting = waiting
            self._changed.notify_all()
        if earlier is not None:
            shutil.rmtree(earlier.folder, ignore_errors=True)

    def _next(self) -> Waiting | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting is not None or self._closed)
            waiting = self._waiting
            self._waiting = None
            self._busy = waiting is not None
        return waiting

    def _work(self) -> None:
        while (waiting := self._next()) is not None:
            try:
                self._store.put(waiting.step, waiting.files, self._skip_existing)
                self._store.prune(checkpoint.KEEP)
                if self._failing:
                    self._say(f"{self._stored.shown} answers again; checkpoints are kept there")
                self._failing = False
            except (Unreachable, UserError, OSError) as error:
                self._failed(waiting.step, error)
            finally:
                shutil.rmtree(waiting.folder, ignore_errors=True)

    def _failed(self, step: int, error: Exception) -> None:
        """Say the first time that a checkpoint did not go up."""
        if not self._failing:
            self._say(
                f"checkpoint {step:09d} did not reach {self._stored.shown} ({error}); training "
                "goes on, and each later one is tried"
            )
        self._failing = True


def uploads_of(run: Run, say: Say) -> Uploads:
    """Return what rank 0 of a run does about its store."""
    return Uploads() if run.stored is None else StoreUploads(run, run.stored, say)


def fetch_chosen(run: Run, chosen: Chosen) -> Path:
    """Return the checkpoint that rank 0 chose, downloaded where it is not on this machine.

    Raises:
        Unreadable: it is not here and cannot be had.
    """
    path = run.checkpoints / chosen.name
    if checkpoint.digest_of(path) == chosen.sha256:
        return path

    reason = "the store does not answer"
    try:
        if chosen.seal is not None and run.stored is not None:
            store = run.stored.store
            store.get(store.seal(chosen.seal), run.folder)
            return path
    except (Damaged, Unreachable) as error:
        reason = str(error)

    raise Unreadable(f"{run.label}: checkpoint {chosen.name} is not on this machine, and {reason}")


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except OSError:  # a file system without links
        shutil.copyfile(path, link)
