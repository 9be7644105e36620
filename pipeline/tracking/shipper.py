"""The process that brings entries and numbers to MLflow, beside whatever trains.

It alone waits for MLflow. What it could not bring stays noted beside the runs, and the shipper of
the next command brings it.
"""

import atexit
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pipeline.core import failpoints, records, watchdog
from pipeline.core.errors import UserError, discreet
from pipeline.core.files import write_json
from pipeline.core.locks import Busy, held
from pipeline.runs import spool
from pipeline.tracking import models, runs
from pipeline.tracking.database import connect, sentences
from pipeline.tracking.entry import Entry, EntryFile, Store, by_key, digest_of, entries
from pipeline.tracking.published import PublishedFile, Registered, published

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAUSE_S = 3.0
"""Between two rounds: MLflow is asked little while a small machine trains."""
PATIENCE_S = 30.0
"""How long a command that is done waits for the next sign that something arrives."""
GONE = "the process that writes to MLflow was killed; is the machine out of memory?"
ARRIVED = "arrived"
Word = UserError | str | None
"""What is heard of the process: why MLflow cannot be used, None that all is well, or `ARRIVED`."""
Version = tuple[int, int]
Kept = TypeVar("Kept", EntryFile, PublishedFile)


class Shipper:
    """The driver's hand on that process.

    A signal to the whole process group does not reach it: the driver ends it, after it had the runs
    closed.
    """

    _last: ClassVar["Shipper | None"] = None

    @classmethod
    def of(cls, store: Store, storage: Path) -> "Shipper":
        """Return the one that brings what this folder of runs has to this store; it is started
        where there is none.

        It stays until it is ended or another one is needed: its start takes seconds, and a command
        has something to bring more than once.
        """
        last = cls._last
        if last is None or last._serves != (store, storage) or not last._process.is_alive():
            cls.end()
            last = cls._last = cls(store, storage)
        return last

    @classmethod
    def end(cls) -> None:
        """End the one that was started last, if it is there."""
        if cls._last is not None:
            cls._last._close()
            cls._last = None

    def __init__(self, store: Store, storage: Path) -> None:
        self._store = store
        self._serves = (store, storage)
        spawn = get_context("spawn")
        self._channel, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_work, args=(store, storage, theirs, os.getpid()), name="shipper"
        )

        with watchdog.shielded():
            self._process.start()
        theirs.close()

        self._word: UserError | None = None
        self._answered = False

    def refusal(self) -> UserError | None:
        """Wait until the store answered; return the sentence where it cannot be used."""
        if not self._answered:
            self._answered = True
            self._word = _sentence(self._hear(None))
        return self._word

    def settle(self) -> UserError | None:
        """Wait until everything arrived, or nothing does any more; return why not, if so. Then it
        is ended, since it may still be at it.
        """
        word: UserError | None = UserError(GONE)
        try:
            self.refusal()
            self._channel.send("all")
            word = self._last_word()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            if word is not None:
                self._close()
        return word

    def _close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.join()

    def _last_word(self) -> UserError | None:
        while (word := self._hear(PATIENCE_S)) == ARRIVED:
            pass
        return _sentence(word)

    def _hear(self, patience: float | None) -> Word:
        try:
            if not self._channel.poll(patience):
                return UserError(f"MLflow at {discreet(self._store.uri)} does not answer in time")
            word: Word = self._channel.recv()
        except (EOFError, OSError):
            return UserError(GONE)
        return word


atexit.register(Shipper.end)  # before multiprocessing's own, which would wait for the process


def _sentence(word: Word) -> UserError | None:
    return word if isinstance(word, UserError) else None


def _work(store: Store, storage: Path, channel: Connection, owner: int) -> None:
    """Ship until the driver is gone; at its word everything, with signs that something arrives."""
    watchdog.follow(owner)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"  # the next round is a try, too

    with suppress(BrokenPipeError, EOFError):
        shipping = Shipping(store, storage)
        channel.send(shipping.greet())

        while True:
            shipping.waited_for = None
            while not channel.poll(PAUSE_S):
                shipping.round()
            channel.recv()
            shipping.waited_for = lambda: channel.send(ARRIVED)
            channel.send(shipping.round())


@dataclass
class Shipping:
    """What is shipped from one folder of runs to one store.

    `waited_for` is called whenever something arrived; while it is None, nobody waits.
    """

    store: Store
    storage: Path
    waited_for: Callable[[], None] | None = None
    _client: "MlflowClient | None" = None
    _outage: UserError | None = None
    _done: dict[EntryFile | PublishedFile, Version] = field(default_factory=dict)

    def greet(self) -> UserError | None:
        """Connect; return the sentence where the store cannot be used."""
        try:
            self._client = connect(self.store.uri)
        except UserError as error:
            self._outage = error
        return self._outage

    def round(self) -> UserError | None:
        """Ship what MLflow does not have as it is; return the sentence where it cannot be used.

        That is said once, not in every round.
        """
        try:
            self._client = self._client or connect(self.store.uri)
            for file in entries(self.storage):
                self._try(file, _version(file), self._ship)
            for network in published(self.storage):
                self._try(network, (network.path.stat().st_mtime_ns, 0), self._register)
        except UserError as error:
            self._client = None  # the next round asks first whether it answers again
            if self._outage is None:
                print(f"{error} (what it misses is recorded when it answers)", flush=True)
            self._outage = error
        else:
            self._outage = None
        return self._outage

    def _try(self, file: Kept, version: Version, ship: Callable[[Kept], str | None]) -> None:
        """Ship what is as it was not yet; what MLflow does not take is named and left, until it
        changes.

        Raises:
            UserError: MLflow does not answer any more.
        """
        if self._done.get(file) == version:
            return

        try:
            with sentences(self.store.uri):
                if ship(file) is not None:
                    self._done[file] = version
        except UserError as error:
            connect(self.store.uri)  # otherwise it is this one entry that it does not take
            self._done[file] = version
            print(f"{error} (so {file.path} is not recorded)", flush=True)

    def _ship(self, file: EntryFile) -> str | None:
        """Bring an entry and its numbers to MLflow; return its MLflow run, None as long as there is
        none.
        """
        entry = file.read()
        if entry is None or entry.store != self.store.name:
            return None

        begun, ended = file.times(entry)
        if begun is None:
            return None  # nothing of it has happened yet

        # MLflow takes the parent's id when it makes the child
        parent = None
        if entry.parent is not None:
            parent = self._ship(by_key(self.storage, entry.parent))
            if parent is None:
                return None

        try:
            with held(file.lock, entry.name, wait=self.waited_for is not None, say=lambda _: None):
                timed = entry.model_copy(update={"begun": begun, "ended": ended})
                return self._bring(file, timed, digest_of(entry), parent)
        except Busy:
            return None  # another command's shipper is at it

    def _bring(self, file: EntryFile, entry: Entry, version: str, parent: str | None) -> str:
        """Bring what MLflow does not have of an entry, then note that it has it."""
        client = self._client
        assert client is not None
        note = file.note(self.store.name)
        offset = note.offset if note else 0

        points, end = spool.read(file.spool, offset)
        changed = note is None or note.entry != version
        if note is not None and not changed and end == offset:
            return note.run_id

        identifier = note.run_id if note else ""
        if note is None or changed or not runs.is_active(client, identifier):
            identifier = runs.open_run(client, self.storage, entry, parent)
            changed = True
            failpoints.reach("shipper.opened")

        if note is not None and note.run_id != identifier:
            points, end = spool.read(file.spool)  # it is another run, which has nothing yet
        self._bring_points(identifier, points)
        # a finished run's record has its evaluations, wherever its numbers were written
        if changed and entry.status != "RUNNING":
            self._bring_points(identifier, _recorded(file, entry))
            runs.close_run(client, identifier, self.storage, file.folder, entry)

        # noted last: what a kill leaves unnoted is compared again, and still stands there once
        failpoints.reach("shipper.unnoted")
        noted = {"run_id": identifier, "offset": end, "entry": version}
        write_json(file.note_path, {"store": self.store.name, **noted})
        return identifier

    def _register(self, file: PublishedFile) -> str | None:
        """Have a published network in MLflow's registry; return its version, None as long as there
        is none: MLflow must have its run, and its folder be there.
        """
        network = file.read()
        if network is None or network.store != self.store.name:
            return None

        run = by_key(self.storage, network.run).note(self.store.name)
        if run is None or not Path(network.folder).is_dir():
            return None
        if file.settled():
            return "settled"

        client = self._client
        assert client is not None
        try:
            with held(
                file.lock, network.name, wait=self.waited_for is not None, say=lambda _: None
            ):
                version = models.register(client, run.run_id, network)
                failpoints.reach("shipper.registered")
                noted = Registered(store=network.store, weights=network.weights, version=version)
                write_json(file.note_path, noted.model_dump(mode="json"))
        except Busy:
            return None

        if self.waited_for is not None:
            self.waited_for()
        return version

    def _bring_points(self, identifier: str, points: list[spool.MetricPoint]) -> None:
        """Bring numbers in batches, with a sign after each for whoever waits."""
        assert self._client is not None
        for start in range(0, max(1, len(points)), runs.METRICS_AT_ONCE):
            batch = points[start : start + runs.METRICS_AT_ONCE]
            if batch:
                runs.log_points(self._client, identifier, batch)
            if self.waited_for is not None:
                self.waited_for()


def _version(file: EntryFile) -> Version:
    """Return what changes where there is something to ship."""
    size = file.spool.stat().st_size if file.spool.exists() else 0
    return file.path.stat().st_mtime_ns, size


def _recorded(file: EntryFile, entry: Entry) -> list[spool.MetricPoint]:
    """Return the evaluations that a finished run knows of, wherever it was trained."""
    record = records.read(file.folder / "finished.json", records.Finished)
    if record is None or entry.status != "FINISHED":
        return []

    return [
        spool.MetricPoint(name, row["step"], float(value), entry.ended or 0)
        for row in record["history"]
        for name, value in spool.metrics_of(row).items()
    ]
