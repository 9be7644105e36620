"""The driver's side of MLflow for one training command: runs are opened before it, closed after it, however it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline import faults, records
from pipeline.cli import Call
from pipeline.engine.run import Run
from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.provenance import commit, stage_digest
from pipeline.shards.manifest import Manifest
from pipeline.tracking import Opening, Recorder, Tracker, uri_of

NOTE = "mlflow.json"


@contextmanager
def recorded(call: Call, runs: list[Run]) -> Iterator[Callable[[], Recorder]]:
    """Open the runs in MLflow and close them after the block: complete where finished, failed where not.

    Opening goes on beside what the block does first (Ray's start, imports); calling what is yielded waits for it.

    Raises:
        UserError: MLflow does not answer.
    """
    uri = uri_of(call.params.tracking, call.project)
    with Tracker(uri) as tracker:
        opening = tracker.open([Opening(run, _tags(call, run), config_of(run)) for run in runs])

        def recorder() -> Recorder:
            _note(runs, opening.result())
            faults.reach("mlflow.opened")
            return Recorder(uri, opening.result())

        try:
            yield recorder
        finally:
            faults.reach("mlflow.open")
            tracker.close(opening.result(), runs)
            faults.reach("mlflow.closed")
            _note(runs, opening.result(), closed=True)


def settled(run: Run) -> bool:
    """Return whether MLflow has a finished run's whole curve; a kill may have come between the two."""
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


def _note(runs: list[Run], opened: dict[str, str], closed: bool = False) -> None:
    for run in runs:
        done = closed and run.finished() is not None
        write_json(run.folder / NOTE, {"run_id": opened[run.id], "settled": done})


def config_of(run: Run) -> dict[str, Any]:
    """Return what was asked for, as metrics.json and MLflow show it."""
    entry = run.section.variants[run.variant]
    return {
        "variant": run.variant, "mixer": entry.mixer, "size": entry.size, "model": entry.model_name, "seed": run.seed,
        "overrides": entry.overrides, "recipe": run.recipe.model_dump(mode="json"),
    }  # fmt: skip


def _tags(call: Call, run: Run) -> dict[str, str]:
    entry = run.section.variants[run.variant]
    head, dirty = commit(call.project)
    stage = f"{run.task}@{run.variant}"
    own = call.folders.root == call.project  # an ad-hoc call is no stage
    tags = {
        "variant": run.variant,
        "mixer": entry.mixer,
        "kernel_size": entry.kernel_size,
        "groups": entry.groups,
        "group_channels": entry.group_channels,
        "stage": stage,
        "stage_digest": stage_digest(call.project, stage) if own else None,
        "git_commit": head,
        "git_dirty": str(dirty).lower(),
        "manifest": Manifest.load(run.shards).digest,
    }
    return {name: str(value) for name, value in tags.items() if value}
