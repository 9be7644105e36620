"""MLflow: one run per training, opened and closed by the driver, written by the controller while it trains."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline import lifeline
from pipeline.address import sqlite_uri
from pipeline.engine.run import Run
from pipeline.errors import UserError
from pipeline.locks import Busy, held
from pipeline.params import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOT_METRICS = {"run_id", "step"}
PARENT = "mlflow.parentRunId"
Tags = dict[str, str]
T = TypeVar("T")


def uri_of(tracking: Tracking, project: Path) -> str:
    """Return where runs are recorded: MLFLOW_TRACKING_URI, params, or SQLite at an absolute path in the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or tracking.uri or sqlite_uri(project / "mlflow.db")


def connect(uri: str) -> "MlflowClient":
    """Return a client; a first connection creates the database, so one process must do it before others write."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise UserError(f"MLflow at {_without_secret(uri)} does not answer: {str(error).splitlines()[0]}") from None
    return client


@dataclass(frozen=True)
class Opening:
    """What a run is recorded with when it is opened."""

    run: Run
    tags: Tags
    params: dict[str, Any]


class Tracker:
    """The driver's hand on MLflow: a process of its own, since MLflow takes seconds to import and so does Ray Train."""

    def __init__(self, uri: str, project: Path) -> None:
        self.uri, self.project = uri, project
        self._process = ProcessPoolExecutor(1, get_context("spawn"), lifeline.follow, (os.getpid(),))

    def open(self, openings: list[Opening]) -> "Future[dict[str, str]]":
        """Open or continue runs; the result is the MLflow run of each run id."""
        return self._process.submit(_open_runs, self.uri, self.project, openings)

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have something else done there, after what was asked for before."""
        return self._process.submit(function, *arguments)

    def close(self, opened: dict[str, str], runs: list[Run]) -> None:
        """End the MLflow runs of these runs: complete where the run finished, failed where not. Waits until done."""
        self._process.submit(_close_runs, self.uri, opened, runs).result()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()


def _open_runs(uri: str, project: Path, openings: list[Opening]) -> dict[str, str]:
    client = connect(uri)
    opened = {opening.run.id: open_run(client, opening, project) for opening in openings}
    for task in {opening.run.task for opening in openings}:
        end_abandoned(client, task, openings[0].run.folder.parent)
    return opened


def _close_runs(uri: str, opened: dict[str, str], runs: list[Run]) -> None:
    client = connect(uri)
    for run in runs:
        close_run(client, opened[run.id], run.finished(), run.folder / "samples.png")


def open_run(client: "MlflowClient", opening: Opening, project: Path) -> str:
    """Return the MLflow run of this training, made or continued: the same training is the same MLflow run."""
    run, tags, params = opening.run, opening.tags, opening.params
    identifier = find_or_make(client, project, run.task, run.label, {**tags, "run_id": run.id})
    log_params(client, identifier, params)
    client.log_dict(identifier, params, "config.json")
    return identifier


def find_or_make(client: "MlflowClient", project: Path, experiment: str, name: str, tags: Tags) -> str:
    """Return the MLflow run that has these tags' `run_id` (and parent, where they name one), marked as running."""
    place = experiment_of(client, project, experiment)
    same = " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in ("run_id", PARENT) if key in tags)
    found = client.search_runs([place], same, max_results=1)
    if not found:
        return str(client.create_run(place, run_name=name, tags=tags).info.run_id)
    identifier = str(found[0].info.run_id)
    client.update_run(identifier, status="RUNNING")
    return identifier


def experiment_of(client: "MlflowClient", project: Path, name: str) -> str:
    """Return the id of an experiment, made where it is missing; beside SQLite its artifacts lie in the project."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = str(client.tracking_uri).startswith(("sqlite:", "sqlite+"))
    place = (project / "mlartifacts" / name).resolve().as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=place))


def end_abandoned(client: "MlflowClient", task: str, storage: Path) -> None:
    """Mark as killed what still says RUNNING though no process trains it: its driver was killed and not started again.

    Only runs whose scratch folder is in `storage` are judged; their lock tells whether somebody is at them.
    """
    experiment = client.get_experiment_by_name(task)
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        folder = storage / run.data.tags.get("run_id", "none")
        if folder.is_dir():
            with suppress(Busy), held(folder / "lock", run.info.run_name, wait=False):
                client.set_terminated(run.info.run_id, "KILLED")


def log_params(client: "MlflowClient", identifier: str, params: dict[str, Any]) -> None:
    """Record parameters, nested ones under dotted names."""
    from mlflow.entities import Param

    flat = dict(_flatten(params))
    client.log_batch(identifier, params=[Param(name, str(value)) for name, value in flat.items()])


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
    points = []
    for name in sorted({name for row in rows for name in row} - NOT_METRICS):
        there = {point.step for point in client.get_metric_history(identifier, name)}
        new = [row for row in rows if name in row and int(row["step"]) not in there]
        points += [Metric(name, float(row[name]), now, int(row["step"])) for row in new]
    if points:
        client.log_batch(identifier, metrics=points)


def close_run(client: "MlflowClient", identifier: str, record: dict[str, Any] | None, picture: Path | None) -> None:
    """End an MLflow run: complete its curve from the run's own record, or mark it failed."""
    if record is None:
        client.set_terminated(identifier, "FAILED")
        return
    log_rows(client, identifier, record["history"])
    if not client.get_metric_history(identifier, "parameters"):
        client.log_metric(identifier, "parameters", record["parameters"])
    if picture is not None and picture.exists():
        client.log_artifact(identifier, str(picture))
    client.set_terminated(identifier, "FINISHED")


class Recorder:
    """Writes evaluations as they arrive; lives in the training controller, the only writer while a run trains.

    Recording must not stop training: what fails here is completed from the run's record when the driver closes it.
    """

    def __init__(self, uri: str, identifiers: dict[str, str]) -> None:
        self.uri, self.identifiers = uri, identifiers
        self._client: MlflowClient | None = None

    def record(self, row: dict[str, Any]) -> None:
        """Record one evaluation of the run that it names."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            self._client = self._client or MlflowClient(tracking_uri=self.uri)
            log_rows(self._client, self.identifiers[row["run_id"]], [row])
        except (MlflowException, OSError) as error:
            print(f"MLflow: {error}; the driver completes the curve at the end", flush=True)


def _without_secret(uri: str) -> str:
    """Return the address without a user's password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else uri
