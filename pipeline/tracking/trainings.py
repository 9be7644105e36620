"""The driver's side of MLflow: entries are written before a training and after it, however it ends,
and shipped beside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.progress import say
from pipeline.project.call import Call
from pipeline.runs.run import Run, config_of
from pipeline.tracking import published
from pipeline.tracking.about import data_of, description_of, params_of, tags_of
from pipeline.tracking.database import knock
from pipeline.tracking.entry import Entry, State, end_abandoned, store_of
from pipeline.tracking.seeds import entry_of, write_parents
from pipeline.tracking.shipper import Shipper

Ready = Callable[[], None]


@contextmanager
def recorded(call: Call, runs: list[Run]) -> Iterator[Ready]:
    """Have the runs recorded while the block trains them, complete where they finish, failed where
    not.

    MLflow is asked beside what the block does first (Ray's start, imports); calling what is yielded
    waits for its answer.

    Raises:
        UserError: MLflow does not answer, and `tracking.required` says that it must.
    """
    with shipped(call, runs[0].folder.parent) as ready:
        _write(call, runs, "RUNNING")
        try:
            yield ready
        finally:
            failpoints.reach("mlflow.open")
            _write(call, runs, "FAILED")
    failpoints.reach("mlflow.closed")


@contextmanager
def shipped(
    call: Call, storage: Path, required: bool | None = None, last: bool = False
) -> Iterator[Ready]:
    """Bring the entries of a folder of runs to MLflow, during the block and at its end.

    Args:
        call: whose MLflow it is.
        storage: the folder of runs.
        required: whether MLflow must answer; None for what the parameters say.
        last: whether this command has nothing more to bring.

    Raises:
        UserError: as `recorded` does.
    """
    store = store_of(call.params.tracking, call.project)
    required = call.params.tracking.required if required is None else required
    end_abandoned(storage)
    try:
        knock(store.uri)
    except UserError as error:
        if required:
            raise UserError(f"{error} (tracking.required: false goes on without it)") from None
        say(f"{error} (it is recorded by the next command that finds MLflow answering)")

    shipper = Shipper.of(store, storage)
    refusal = None

    def ready() -> None:
        nonlocal refusal
        refusal = shipper.refusal() if required else None
        if refusal is not None:
            raise refusal
        failpoints.reach("mlflow.opened")

    try:
        yield ready
    finally:
        word = shipper.settle()
        if last:
            Shipper.end()
        if word is not None and refusal is None:
            say(f"{word} (what it misses is recorded by the next command that finds it answering)")


def register(call: Call, runs: list[Run]) -> None:
    """Have the published networks of these runs in MLflow's registry, where MLflow has the runs; it
    gets the others from the command that brings it these.
    """
    files = [(run, published.write(call, run)) for run in runs]
    missed = [run for run, file in files if file is not None and not file.settled()]
    if any(settled(run) for run in missed):
        with shipped(call, runs[0].folder.parent, required=False, last=True):
            pass


def settled(run: Run) -> bool:
    """Return whether MLflow has a finished run's whole curve; a kill may have come between the
    two.
    """
    return entry_of(run).settled()


def _write(call: Call, runs: list[Run], unfinished: State) -> None:
    """Write what MLflow is to say of these runs: those that did not finish are `unfinished`."""
    parents = write_parents(call, runs, unfinished)

    for run in runs:
        record = run.finished()
        begun, ended = _times(run, record)
        entry = Entry(
            store=store_of(call.params.tracking, call.project).name,
            experiment=run.task,
            run_id=run.id,
            name=run.label,
            status=unfinished if record is None else "FINISHED",
            tags=tags_of(call, run),
            params=params_of(run),
            config=config_of(run),
            data=data_of(call, run),
            description=description_of(call, run),
            parent=parents[run.variant].key if run.variant in parents else None,
            artifacts=["samples.png"],
            begun=begun,
            ended=ended,
        )

        entry_of(run).write(entry)


def _times(run: Run, record: dict[str, Any] | None) -> tuple[int, int] | tuple[None, None]:
    """Return when a finished run began and ended, where the file of its numbers is elsewhere."""
    if record is None or run.spool.exists():
        return None, None
    ended = (run.folder / "finished.json").stat().st_mtime * 1000
    return int(ended - record["wall_time_s"] * 1000), int(ended)
