"""A run in a store: what of its folder goes up and comes down, and when.

The folder on a machine is where a run trains; the store has its newest checkpoints and, at its end,
what is published. What this machine has is enough to go on: a store that does not answer stops
nothing but a run of which nothing is here.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.core import records
from pipeline.core.errors import Unreadable
from pipeline.core.files import digest, user_cache
from pipeline.runs import checkpoint
from pipeline.storage.copies import FINISHED, Damaged, RunStore
from pipeline.storage.lease import leased
from pipeline.storage.remote import Missing, ObjectFolder, Unreachable

RECORD = "finished.json"
SIDE_FILES = ("decides.json", "adopted.json")
"""Small files that go with every copy."""


def local_folder(url: str) -> Path:
    """Return the folder of this machine in which the runs of a store lie while they train."""
    return user_cache("runs", digest(url)[:16])


@dataclass(frozen=True)
class StoredRun:
    """One run in the store at a URL. Pickles as plain values."""

    url: str
    run_id: str

    @property
    def store(self) -> RunStore:
        """The run's objects."""
        return RunStore(ObjectFolder(f"{self.url}/{self.run_id}"))

    @property
    def shown(self) -> str:
        """The run's address, for people."""
        return self.store.objects.shown()

    def of(self, run_id: str) -> "StoredRun":
        """Return another run of this store."""
        return StoredRun(self.url, run_id)

    def folder(self) -> Path:
        """Return the run's folder on this machine."""
        return local_folder(self.url) / self.run_id

    @contextmanager
    def leased(
        self, folder: Path, what: str, wait: bool, say: Callable[[str], None]
    ) -> Iterator[None]:
        """Be the only machine that trains this run, by a lease; the caller holds the folder's lock.

        Raises:
            Busy, Unreadable: as `Run.exclusive`.
        """
        with ExitStack() as stack:
            try:
                lease = leased(self.store.objects, folder / "lease", what, wait, say)
                stack.enter_context(lease)
            except Unreachable as error:
                self.go_on_locally(folder, str(error), _print_once)
            yield

    def download_finished(self, folder: Path) -> None:
        """Download a finished run's record and files, where the store has them."""
        try:
            self.store.get(self.store.seal(FINISHED), folder)
        except Missing:
            return
        except Damaged as error:
            _print_once(f"{self.shown} is damaged ({error}); it counts as unfinished")
        except Unreachable as error:
            self.go_on_locally(folder, str(error), _print_once)

    def download_newest(self, folder: Path, say: Callable[[str], None]) -> bool:
        """Download the newest whole checkpoint, where the one on this machine is older.

        Returns:
            whether all that was looked at in the store is whole, so that an object that is there
            need not be uploaded again (`skip_existing` of `ensure_uploaded`); what is not is said.

        Raises:
            Unreachable: the store does not answer.
        """
        all_whole = True
        newest = checkpoint.newest_whole(folder / "checkpoints")

        for name in self.store.seals():
            if int(name.partition("-")[0]) <= newest:
                break
            try:
                self.store.get(self.store.seal(name), folder)
                break
            except (Damaged, Missing) as error:
                all_whole = False
                say(
                    f"checkpoint {name.partition('-')[0]} in {self.shown} is damaged "
                    f"({error}); using an older one"
                )

        return all_whole

    def ensure_uploaded(self, folder: Path, name: str, skip_existing: bool = True) -> str:
        """Upload a checkpoint unless it is there, so that every machine can have it; return its
        seal.

        `skip_existing` leaves files alone that are there in their full size. It is off once
        something in the store was found damaged: then every file is uploaded anew.

        Raises:
            Unreachable: the store does not answer.
        """
        return self.store.put(int(name), checkpoint_files(folder, name), skip_existing)

    def upload_finished(self, folder: Path) -> str | None:
        """Upload a finished run, unless the store has it; return a sentence where it cannot."""
        record = records.read(folder / RECORD, records.Finished)
        names = [RECORD, *(record or {"files": ()})["files"], *SIDE_FILES]

        try:
            self.store.finish({name: folder / name for name in names if (folder / name).exists()})
        except Unreachable as error:
            return (
                f"{self.shown}: {error}; the finished run is on this machine alone, in {folder}; "
                "give the same command again once the store answers"
            )
        return None

    def go_on_locally(self, folder: Path, reason: str, say: Callable[[str], None]) -> None:
        """Go on with what is on this machine, where anything is, and say why: the store does not
        answer.

        Raises:
            Unreadable: nothing of the run is on this machine.
        """
        if not any((folder / "checkpoints").glob("[0-9]*")):
            raise Unreadable(
                f"{self.shown}: {reason}; nothing of the run is on this machine, so it is not "
                "begun: check cluster.storage, the credentials and the store"
            )
        say(f"{self.shown}: {reason}; going on with what is on this machine")


def checkpoint_files(folder: Path, name: str) -> dict[str, Path]:
    """Return the files that a checkpoint needs to go on elsewhere, by their names in the run's
    folder.
    """
    path = folder / "checkpoints" / name
    best = json.loads((path / checkpoint.SEAL).read_text())["best"]
    names = [
        *(f"checkpoints/{name}/{file}" for file in (checkpoint.STATE, checkpoint.SEAL)),
        *([] if best is None else [f"best-{best:09d}.safetensors"]),
        *SIDE_FILES,
    ]

    return {name: folder / name for name in names if (folder / name).exists()}


@cache
def _print_once(sentence: str) -> None:
    """Print to this process's stderr, the first time only: several looks at a store meet the same
    trouble.
    """
    print(sentence, file=sys.stderr, flush=True)
