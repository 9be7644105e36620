"""The driver's side of MLflow for one training command: runs are opened before it, closed after it,
however it ends.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core import failpoints
from pipeline.core.files import write_json
from pipeline.project.call import Call
from pipeline.project.dvcfile import stage_digest
from pipeline.project.git import commit
from pipeline.runs.run import NOTE, Run, config_of
from pipeline.shards.manifest import Manifest
from pipeline.tracking.tracker import Opening, Recorder, Tracker, uri_of


@contextmanager
def recorded(call: Call, runs: list[Run]) -> Iterator[Callable[[], Recorder]]:
    """Open the runs in MLflow and close them after the block: complete where finished, failed where
    not.

    Opening goes on beside what the block does first (Ray's start, imports); calling what is yielded
    waits for it.

    Raises:
        UserError: MLflow does not answer.
    """
    uri = uri_of(call.params.tracking, call.project)
    with Tracker(uri) as tracker:
        opening = tracker.open([Opening(run, _tags(call, run), config_of(run)) for run in runs])

        def recorder() -> Recorder:
            _note(runs, opening.result())
            failpoints.reach("mlflow.opened")
            return Recorder(uri, opening.result())

        try:
            yield recorder
        finally:
            failpoints.reach("mlflow.open")
            tracker.close(opening.result(), runs)
            failpoints.reach("mlflow.closed")
            _note(runs, opening.result(), closed=True)


def _note(runs: list[Run], opened: dict[str, str], closed: bool = False) -> None:
    for run in runs:
        done = closed and run.finished() is not None
        write_json(run.folder / NOTE, {"run_id": opened[run.id], "settled": done})


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
