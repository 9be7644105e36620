"""MLflow: one run per training, opened and closed by the driver, written by the controller while it
trains.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core import records, watchdog
from pipeline.core.address import sqlite_uri
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.core.locks import Busy, held
from pipeline.params import Tracking
from pipeline.runs.run import Run
from pipeline.tracking.database import alone, artifacts_of, connect, sentences

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOT_METRICS = {"run_id", "step"}
PARENT = "mlflow.parentRunId"
STATE = "state."  # of a run in one folder of runs, which the rest of the tag's name tells
PARAMS_AT_ONCE, METRICS_AT_ONCE, LONGEST_PARAM = 100, 1000, 6000  # MLflow's limits
Tags = dict[str, str]
T = TypeVar("T")


def uri_of(tracking: Tracking, project: Path) -> str:
    """Return where runs are recorded: MLFLOW_TRACKING_URI, params, or SQLite at an absolute path in
    the project.
    """
    return (
        os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri or sqlite_uri(project / "mlflow.db")
    )


@dataclass(frozen=True)
class Opening:
    """What a run is recorded with when it is opened."""

    run: Run
    tags: Tags
    params: dict[str, Any]


class Tracker:
    """The driver's hand on MLflow: a process of its own, since MLflow takes seconds to import and
    so does Ray Train.

    A signal to the whole process group does not reach it: the driver ends it, after it had the runs
    closed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._process = ProcessPoolExecutor(
            1, get_context("spawn"), watchdog.follow, (os.getpid(),)
        )

    def open(self, openings: list[Opening]) -> "Future[dict[str, str]]":
        """Open or continue runs; the result is the MLflow run of each run id."""
        return self.submit(_open_runs, self.uri, openings)

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have something else done there, after what was asked for before."""
        with watchdog.shielded():  # the first call starts the process
            return self._process.submit(_in_sentences, self.uri, function, *arguments)

    def close(self, opened: dict[str, str], runs: list[Run]) -> None:
        """End the MLflow runs of these runs: complete where the run finished, failed where not.

        Waits until done.
        """
        self.submit(_close_runs, self.uri, opened, runs).result()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._process.shutdown()
        if kind is BrokenProcessPool:
            raise UserError(
                "the process that writes to MLflow was killed; is the machine out of memory? Run "
                "the command again: "
                "what is trained is kept"
            ) from None


def _in_sentences(uri: str, function: Callable[..., T], *arguments: Any) -> T:
    with sentences(uri):
        return function(*arguments)


def _open_runs(uri: str, openings: list[Opening]) -> dict[str, str]:
    client = connect(uri)
    opened = {opening.run.id: open_run(client, opening) for opening in openings}
    for task in {opening.run.task for opening in openings}:
        end_abandoned(client, task, openings[0].run.folder.parent)
    return opened


def _close_runs(uri: str, opened: dict[str, str], runs: list[Run]) -> None:
    client = connect(uri)
    for run in runs:
        experiment_of(client, run.task)
        _restore(client, _run(client, opened[run.id], run.label))
        close_run(
            client, opened[run.id], run.finished(), run.folder / "samples.png", run.folder.parent
        )


def _run(client: "MlflowClient", identifier: str, label: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(identifier)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(
            f"MLflow's run {identifier} of {label} is gone; run the same command again, which "
            "records it anew"
        ) from None


def open_run(client: "MlflowClient", opening: Opening) -> str:
    """Return the MLflow run of this training, made or continued: the same training is the same
    MLflow run.
    """
    run, tags, params = opening.run, opening.tags, opening.params
    identifier = find_or_make(
        client, run.folder.parent, run.task, run.label, {**tags, "run_id": run.id}
    )
    log_params(client, identifier, params)
    client.log_dict(identifier, params, "config.json")
    return identifier


def find_or_make(
    client: "MlflowClient", storage: Path, experiment: str, name: str, tags: Tags
) -> str:
    """Return the MLflow run that has these tags' `run_id` (and parent, where they name one), marked
    as running.

    Two clones that train the same on one store share the MLflow run. On a server, whose processes
    no lock of ours reaches, both may make one at the same moment: then the older stays.
    """
    place = experiment_of(client, experiment)
    tags = {**tags, "host": socket.gethostname(), "storage": str(storage)}
    with alone(str(client.tracking_uri)):
        run = _find(client, place, tags)
        if run is None:
            made = client.create_run(place, run_name=name, tags=tags)
            run = _find(client, place, tags) or made
            if run.info.run_id != made.info.run_id:
                client.delete_run(made.info.run_id)
        _restore(client, run)
        _rename(client, run, name, tags)
        _mark(client, run.info.run_id, storage, "RUNNING")
    return str(run.info.run_id)


def _find(client: "MlflowClient", place: str, tags: Tags) -> Any:
    """Return the oldest MLflow run with these tags, a deleted one only where there is no other, or
    None.
    """
    from mlflow.entities import ViewType

    same = " and ".join(
        f"tags.`{key}` = '{tags[key]}'" for key in ("run_id", PARENT) if key in tags
    )
    runs = client.search_runs([place], same, ViewType.ALL)
    order = [
        (run.info.lifecycle_stage != "active", run.info.start_time, run.info.run_id, run)
        for run in runs
    ]
    return min(order, key=lambda row: row[:3])[-1] if order else None


def _restore(client: "MlflowClient", run: Any) -> None:
    """Take a run back that was deleted: its training goes on, and is recorded whole."""
    if run.info.lifecycle_stage != "active":
        client.restore_run(run.info.run_id)
        print(
            f"MLflow: run {run.info.run_name} was deleted, and its training goes on; it is "
            "restored",
            flush=True,
        )


def _rename(client: "MlflowClient", run: Any, name: str, tags: Tags) -> None:
    """Let an earlier command's run have this one's name and tags: a variant may have another name
    by now.
    """
    if run.info.run_name != name:
        client.update_run(run.info.run_id, name=name)
    for key, value in tags.items():
        if run.data.tags.get(key) != value:
            client.set_tag(run.info.run_id, key, value)


def _mark(client: "MlflowClient", identifier: str, storage: Path, state: str) -> None:
    """Note how a run stands in this storage, and give it the status that all storages that train it
    have together.
    """
    client.set_tag(identifier, f"{STATE}{identity_of(storage)}", state)
    run = client.get_run(identifier)
    states = {value for key, value in run.data.tags.items() if key.startswith(STATE)}
    status = next((best for best in ("FINISHED", "RUNNING") if best in states), state)
    if state == "RUNNING":
        status = state  # a finished run that is opened again is being completed
    if status == run.info.status:
        return
    if status == "RUNNING":
        client.update_run(identifier, status=status)
    else:
        client.set_terminated(identifier, status)


def identity_of(storage: Path) -> str:
    """Return the name by which MLflow knows a folder of runs: drawn once, kept if it moves, drawn
    anew for a copy.
    """
    note = storage / "identity.json"
    with held(storage / "identity.lock", "the identity of a folder of runs", say=lambda _: None):
        inode = storage.stat().st_ino
        known = records.read(note, records.Identity)
        if known is not None and known["inode"] == inode:
            return str(known["id"])
        name = os.urandom(6).hex()
        write_json(note, {"id": name, "inode": inode})
        return name


def experiment_of(client: "MlflowClient", name: str) -> str:
    """Return the id of an experiment: made where it is missing, restored where it was deleted."""
    uri = str(client.tracking_uri)
    with alone(uri):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            place = artifacts_of(uri)
            return str(
                client.create_experiment(name, artifact_location=place and f"{place}/{name}")
            )
        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
            print(
                f"MLflow: experiment {name} was deleted, and is needed again; it is restored",
                flush=True,
            )
        return str(experiment.experiment_id)


def end_abandoned(client: "MlflowClient", task: str, storage: Path) -> None:
    """Mark as killed what still says RUNNING though no process trains it: its driver was killed and
    not started again.

    Only runs that were opened from this storage are judged; their lock tells whether somebody is at
    them.
    """
    experiment = client.get_experiment_by_name(task)
    if experiment is None:
        return
    running = f"attributes.status = 'RUNNING' and tags.`{STATE}{identity_of(storage)}` = 'RUNNING'"
    for run in client.search_runs([experiment.experiment_id], running):
        folder = storage / run.data.tags.get("run_id", "none")
        if folder.is_dir() and folder.resolve().is_relative_to(storage.resolve()):
            with suppress(Busy), held(folder / "lock", run.info.run_name, wait=False):
                end(client, run.info.run_id, storage, "KILLED")


def end(client: "MlflowClient", identifier: str, storage: Path, state: str) -> None:
    """Note how a run ended in this storage: FINISHED, FAILED or KILLED."""
    with alone(str(client.tracking_uri)):
        _mark(client, identifier, storage, state)


def log_params(client: "MlflowClient", identifier: str, params: dict[str, Any]) -> None:
    """Record parameters, nested ones under dotted names; MLflow keeps for ever what was recorded
    first.
    """
    from mlflow.entities import Param

    there = client.get_run(identifier).data.params
    flat = {name: str(value)[:LONGEST_PARAM] for name, value in _flatten(params)}
    new = [Param(name, value) for name, value in flat.items() if name not in there]
    for start in range(0, len(new), PARAMS_AT_ONCE):
        client.log_batch(identifier, params=new[start : start + PARAMS_AT_ONCE])
    if differing := [name for name in flat if there.get(name, flat[name]) != flat[name]]:
        print(
            f"MLflow: run {identifier} keeps {', '.join(differing)} as recorded first", flush=True
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def log_rows(client: "MlflowClient", identifier: str, rows: list[dict[str, Any]]) -> None:
    """Record evaluations by step; a step that already stands there is left as it is."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    with alone(str(client.tracking_uri)):
        points = []
        for name in sorted({name for row in rows for name in row} - NOT_METRICS):
            there = {point.step for point in client.get_metric_history(identifier, name)}
            new = [row for row in rows if name in row and int(row["step"]) not in there]
            points += [Metric(name, float(row[name]), now, int(row["step"])) for row in new]
        for start in range(0, len(points), METRICS_AT_ONCE):
            client.log_batch(identifier, metrics=points[start : start + METRICS_AT_ONCE])


def close_run(
    client: "MlflowClient",
    identifier: str,
    record: dict[str, Any] | None,
    picture: Path | None,
    storage: Path,
) -> None:
    """End an MLflow run: complete its curve from the run's own record, or mark it failed."""
    if record is None:
        end(client, identifier, storage, "FAILED")
        return
    log_rows(client, identifier, record["history"])
    if not client.get_metric_history(identifier, "parameters"):
        client.log_metric(identifier, "parameters", record["parameters"])
    if picture is not None and picture.exists():
        client.log_artifact(identifier, str(picture))
    end(client, identifier, storage, "FINISHED")


class Recorder:
    """Writes evaluations as they arrive; lives in the training controller, the only writer while a
    run trains.

    Recording must not stop training: what fails here is completed from the run's record when the
    driver closes it.
    """

    def __init__(self, uri: str, identifiers: dict[str, str]) -> None:
        self.uri, self.identifiers = uri, identifiers
        self._client: MlflowClient | None = None

    def record(self, row: dict[str, Any]) -> None:
        """Record one evaluation of the run that it names."""
        try:
            with sentences(self.uri):
                self._client = self._client or connect(self.uri)
                log_rows(self._client, self.identifiers[row["run_id"]], [row])
        except UserError as error:
            self._client = None  # the next evaluation asks first whether it answers again
            print(f"{error} (the training goes on, its curve is completed at the end)", flush=True)
