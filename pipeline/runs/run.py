"""A run: what decides its result, and its scratch folder.

Imports no torch, so that finished runs publish quickly.
"""

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core import failpoints, records
from pipeline.core.errors import UserError
from pipeline.core.files import finite, sha256_file, write_json
from pipeline.params import Task
from pipeline.shards.remote.cache import ShardCache


@dataclass(frozen=True)
class Run:
    """One training: a variant with a seed on a manifest.

    `id` digests all that decides the result.
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

    def tell(self, line: dict[str, Any]) -> None:
        """Add a line to the progress, for whoever follows the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"time": round(time.time(), 3), "run": self.label, **line}
        with open(self.progress, "a") as file:
            file.write(json.dumps(finite(whole)) + "\n")

    def note(self, sentence: str) -> None:
        """Say a sentence to whoever follows the run."""
        self.tell({"note": sentence})

    def adopted(self) -> dict[str, Any] | None:
        """Return which run's checkpoint this one continued under other code, or None."""
        return records.read(self.folder / "adopted.json", records.Adopted)

    def finished(self) -> dict[str, Any] | None:
        """Return the record of a finished run whose files are whole, else None."""
        record = records.read(self.folder / "finished.json", records.Finished)
        if record is None or (record["run_id"], record["seed"]) != (self.id, self.seed):
            return None
        try:
            whole = all(
                sha256_file(self.folder / name) == digest
                for name, digest in record["files"].items()
            )
        except OSError:
            return None
        return record if whole else None

    def finish(self, record: dict[str, Any], files: list[str]) -> None:
        """Seal the run: the record with the digests of its files is written last, checkpoints are
        dropped.
        """
        failpoints.reach("run.unsealed")
        sealed = {**record, "files": {name: sha256_file(self.folder / name) for name in files}}
        write_json(self.folder / "finished.json", sealed)
        failpoints.reach("run.sealed")
        shutil.rmtree(self.checkpoints, ignore_errors=True)


NOTE = "mlflow.json"


def settled(run: Run) -> bool:
    """Return whether MLflow has a finished run's whole curve; a kill may have come between the
    two.
    """
    note = records.read(run.folder / NOTE, records.Noted)
    return note is not None and bool(note["settled"])


def mlflow_run_of(run: Run) -> str:
    """Return the id of the MLflow run that a settled run is recorded in.

    Raises:
        UserError: the note of it is gone.
    """
    note = records.read(run.folder / NOTE, records.Noted)
    if note is None:
        raise UserError(f"{run.folder / NOTE} was removed meanwhile; run the command again")
    return str(note["run_id"])


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
