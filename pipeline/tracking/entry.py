"""What MLflow is to say of a run, kept beside the run until MLflow says it.

An entry is written by the command that trains, and never waits for MLflow; the note beside it is
written by the process that ships it, and says how much of it MLflow has. So what MLflow missed is
known after any kill, and on any later day.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.core import records
from pipeline.core.address import sqlite_uri
from pipeline.core.errors import bare_address
from pipeline.core.files import digest, write_json
from pipeline.core.locks import Busy, held
from pipeline.params import Tracking
from pipeline.runs import spool

State = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
ENTRY = ".entry.json"
HERE = "project"
"""The name of the database in the project, wherever that is moved to."""


@dataclass(frozen=True)
class Store:
    """Where runs are recorded: `uri` may hold a password, `name` is the same without it."""

    uri: str
    name: str


def store_of(tracking: Tracking, project: Path) -> Store:
    """Return where runs are recorded: MLFLOW_TRACKING_URI, params, or SQLite in the project."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri
    if uri:
        return Store(uri, bare_address(uri))
    return Store(sqlite_uri(project / "mlflow.db"), HERE)


class DataInput(records.Record):
    """The data that a run is trained on."""

    name: str
    digest: str
    source: str
    samples: dict[str, int]


class Entry(records.Record):
    """One run as MLflow is to have it.

    `begun` and `ended` are in milliseconds, and those of the file of its numbers, or of its
    children's, where they are None; `parent` and `children` are keys of other entries; `metrics`
    belong to no step.
    """

    store: str
    experiment: str
    run_id: str
    name: str
    status: State
    tags: dict[str, str]
    params: dict[str, Any]
    config: dict[str, Any] = Field(default_factory=dict)
    data: DataInput | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    artifacts: list[str] = Field(default_factory=list)
    description: str = ""
    parent: str | None = None
    children: list[str] = Field(default_factory=list)
    begun: int | None = None
    ended: int | None = None


@dataclass(frozen=True)
class EntryFile:
    """An entry's files: in `mlflow/` beside what it is about, under a folder of runs."""

    storage: Path
    folder: Path
    name: str

    @property
    def key(self) -> str:
        """How another entry names this one as its parent."""
        return f"{self.folder.relative_to(self.storage)}:{self.name}"

    @property
    def path(self) -> Path:
        """The entry itself."""
        return self.folder / "mlflow" / f"{self.name}{ENTRY}"

    @property
    def note_path(self) -> Path:
        """What MLflow has of it."""
        return self.folder / "mlflow" / f"{self.name}.note.json"

    @property
    def lock(self) -> Path:
        """Held by the one process that ships it."""
        return self.folder / "mlflow" / f"{self.name}.lock"

    @property
    def spool(self) -> Path:
        """The file of the run's numbers by step."""
        return self.folder / "metrics.jsonl"

    def read(self) -> Entry | None:
        """Return the entry; None where it is missing or spoilt."""
        tree = records.read(self.path, Entry)
        return None if tree is None else Entry.model_validate(tree)

    def write(self, entry: Entry) -> None:
        """Write the entry, unless it says the same already."""
        if self.read() != entry:
            write_json(self.path, entry.model_dump(mode="json"))

    def note(self, store: str) -> records.Noted | None:
        """Return what this store has of it."""
        tree = records.read(self.note_path, records.Noted)
        note = None if tree is None else records.Noted.model_validate(tree)
        return note if note is not None and note.store == store else None

    def settled(self) -> bool:
        """Return whether MLflow has all of it, to its end."""
        entry = self.read()
        if entry is None or entry.status == "RUNNING":
            return False
        note = self.note(entry.store)
        size = self.spool.stat().st_size if self.spool.exists() else 0
        return note is not None and note.entry == digest_of(entry) and note.offset == size

    def times(self, entry: Entry) -> tuple[int | None, int | None]:
        """Return when the run began and ended, as far as it did."""
        spools = [by_key(self.storage, key).spool for key in entry.children] or [self.spool]
        spans = [span for path in spools if (span := spool.time_span(path)) is not None]
        first = min((begun for begun, _ in spans), default=None)
        last = max((ended for _, ended in spans), default=None)
        return entry.begun or first, entry.ended or last


def digest_of(entry: Entry) -> str:
    """Return what tells an entry from the same one changed."""
    return digest(entry.model_dump(mode="json"))


def by_key(storage: Path, key: str) -> EntryFile:
    """Return the entry that another one names."""
    folder, _, name = key.rpartition(":")
    return EntryFile(storage, storage / folder, name)


def entries(storage: Path) -> Iterator[EntryFile]:
    """Return the entries of a folder of runs: of runs, and of what holds several."""
    for where in ("*", "searches/*", "variants/*"):
        for path in storage.glob(f"{where}/mlflow/*{ENTRY}"):
            yield EntryFile(storage, path.parents[1], path.name.removesuffix(ENTRY))


def end_abandoned(storage: Path) -> None:
    """Mark as killed what still says RUNNING though no process is at it: its driver was killed."""
    for file in entries(storage):
        entry = file.read()
        if entry is not None and entry.status == "RUNNING":
            with suppress(Busy), held(file.folder / "lock", entry.name, wait=False):
                file.write(entry.model_copy(update={"status": "KILLED"}))
