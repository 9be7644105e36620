"""A run: what decides its result, and its scratch folder.

Imports no torch, so that finished runs publish quickly.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.core import failpoints, records
from pipeline.core.errors import UserError
from pipeline.core.files import finite, sha256_file, write_json
from pipeline.core.locks import held
from pipeline.core.progress import say
from pipeline.params import Task
from pipeline.runs import checkpoint
from pipeline.runs.stored import StoredRun
from pipeline.shards.remote.cache import ShardCache
from pipeline.storage.remote import Unreachable


@dataclass(frozen=True)
class Run:
    """One training: a variant with a seed on a manifest.

    `id` digests all that decides the result.

    What a run says goes one of two ways. `announce` and `write_progress` append to its progress
    file, on whichever machine it trains, and the driver shows these lines
    (`pipeline.cluster.progress`). `core.progress.say` prints in the process that calls it, which
    people see of the driver alone.
    """

    id: str
    task: str
    variant: str
    seed: int
    section: Task
    shards: Path
    folder: Path
    loader_workers: int = 0
    init_from: Path | None = None
    decides: dict[str, Any] = field(default_factory=dict)
    cache: ShardCache | None = None
    stored: StoredRun | None = None
    """What a store keeps of the run; None where its folder is all there is."""

    @property
    def recipe(self) -> Any:
        """The task's recipe with the variant's changes."""
        return self.section.recipe_of(self.variant)

    @property
    def label(self) -> str:
        """How people see this run in logs."""
        return f"{self.variant} seed {self.seed}"

    @property
    def checkpoints(self) -> Path:
        """Where what must survive a kill is kept while the run trains."""
        return self.folder / "checkpoints"

    @property
    def progress(self) -> Path:
        """Where rank 0 says how far it is, and the controller who was lost, a JSON line a time."""
        return self.folder / "progress.jsonl"

    @property
    def spool(self) -> Path:
        """Where rank 0 writes the numbers of the run by step, a JSON line at a time."""
        return self.folder / "metrics.jsonl"

    def write_progress(self, line: dict[str, Any]) -> None:
        """Add a line to the progress file, from any process; the driver shows it as it comes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"time": round(time.time(), 3), "run": self.label, **line}
        with open(self.progress, "a") as file:
            file.write(json.dumps(finite(record)) + "\n")

    def announce(self, sentence: str) -> None:
        """Say a sentence to whoever follows the run: a line of the progress file."""
        self.write_progress({"note": sentence})

    def adopted(self) -> dict[str, Any] | None:
        """Return which run's checkpoint this one continued under other code, or None."""
        return records.read(self.folder / "adopted.json", records.Adopted)

    def here(self) -> "Run":
        """Return the run with its folder on this machine, where a store keeps it."""
        return self if self.stored is None else replace(self, folder=self.stored.folder())

    @contextmanager
    def exclusive(self, wait: bool = True, say: Callable[[str], None] = say) -> Iterator[None]:
        """Be the only command that trains this run, on this machine and on those that share its
        store.

        The driver holds it; the process that writes holds a lock of its own (`training.loop`). A
        stage holds `Call.alone` beside it, which keeps a project's commands apart, not two
        checkouts with one storage.

        Raises:
            Busy: another one does, and `wait` is False.
            UserError: the store does not answer, and nothing of the run is on this machine.
        """
        with ExitStack() as locks:
            locks.enter_context(held(self.folder / "lock", self.label, wait, say))
            if self.stored is not None:
                locks.enter_context(self.stored.leased(self.folder, self.label, wait, say))
            yield

    def download_newest(self) -> None:
        """Download the newest whole checkpoint, where a store has a newer one.

        Raises:
            Unreadable: the store does not answer, and nothing of the run is on this machine.
        """
        if self.stored is None:
            return
        try:
            self.stored.download_newest(self.folder, say)
        except Unreachable as error:
            self.stored.go_on_locally(self.folder, str(error), say)

    def ensure_uploaded(self) -> None:
        """Upload the newest checkpoint here unless the store has it, where there is a store.

        Raises:
            UserError: the store does not answer.
        """
        if self.stored is None:
            return

        newest = checkpoint.folders_in(self.checkpoints)[-1]
        try:
            self.stored.ensure_uploaded(self.folder, newest.name)
        except Unreachable as error:
            raise UserError(
                f"{self.stored.shown}: {error}; give the same command again once the store answers"
            ) from None

    def finished(self) -> dict[str, Any] | None:
        """Return the record of a finished run whose files are whole, else None.

        Raises:
            Unreadable: the store does not answer, and nothing of the run is on this machine.
        """
        record = self._finished_here()
        if record is None and self.stored is not None:
            self.stored.download_finished(self.folder)
            record = self._finished_here()
        return record

    def _finished_here(self) -> dict[str, Any] | None:
        record = records.read(self.folder / "finished.json", records.Finished)
        if record is None or (record["run_id"], record["seed"]) != (self.id, self.seed):
            return None

        try:
            intact = all(
                sha256_file(self.folder / name) == digest
                for name, digest in record["files"].items()
            )
        except OSError:
            return None
        return record if intact else None

    def finish(self, record: dict[str, Any], files: list[str]) -> None:
        """Seal the run: the record with the digests of its files is written last, checkpoints are
        dropped.
        """
        # failpoints are for tests alone
        failpoints.reach("run.unsealed")
        sealed = {**record, "files": {name: sha256_file(self.folder / name) for name in files}}
        write_json(self.folder / "finished.json", sealed)
        failpoints.reach("run.sealed")
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def upload_finished(runs: Iterable[Run]) -> None:
    """Upload finished runs that their store does not have; say where it cannot be done."""
    for run in runs:
        if run.stored is None or run.finished() is None:
            continue
        sentence = run.stored.upload_finished(run.folder)
        if sentence is not None:
            print(sentence, file=sys.stderr, flush=True)


def mlflow_run_of(run: Run) -> str | None:
    """Return the id of the MLflow run that has a run; None as long as MLflow missed it."""
    note = records.read(run.folder / "mlflow" / f"{run.task}.note.json", records.Noted)
    return None if note is None else str(note["run_id"])


def config_of(run: Run) -> dict[str, Any]:
    """Return what was asked for, as metrics.json and MLflow show it."""
    entry = run.section.variants[run.variant]
    return {
        "variant": run.variant,
        "mixer": entry.mixer,
        "size": entry.size,
        "model": entry.model_name,
        "seed": run.seed,
        "overrides": entry.overrides,
        "recipe": run.recipe.model_dump(mode="json"),
    }
