"""A run: what decides its result, and its scratch folder.

Imports no torch, so that finished runs publish quickly.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core import failpoints, records
from pipeline.core.files import sha256_file, write_json
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
        """Where rank 0 says how far it is, a JSON line at a time."""
        return self.folder / "progress.jsonl"

    @property
    def spool(self) -> Path:
        """Where rank 0 writes the numbers of the run by step, a JSON line at a time."""
        return self.folder / "metrics.jsonl"

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
