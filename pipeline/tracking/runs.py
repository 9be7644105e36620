"""MLflow's runs: found or made, given what an entry says, ended; each call may come twice."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import records
from pipeline.core.files import write_json
from pipeline.core.locks import held
from pipeline.runs.spool import MetricPoint
from pipeline.tracking.database import alone, artifacts_of
from pipeline.tracking.entry import DataInput, Entry
from pipeline.tracking.pages import NOTE, tags_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"
SEARCH = "search"
STATE = "state."  # of a run in one folder of runs, which the rest of the tag's name tells
PARAMS_AT_ONCE = 100  # MLflow's limits, as are the next two
METRICS_AT_ONCE = 1000
LONGEST_PARAM = 6000
Tags = dict[str, str]


def open_run(client: "MlflowClient", storage: Path, entry: Entry, parent: str | None) -> str:
    """Return the MLflow run of an entry, made or continued, with all that is known from the start.

    The same training is the same MLflow run, whenever and wherever it is continued.
    """
    tags = {**entry.tags, "run_id": entry.run_id, **({PARENT: parent} if parent else {})}
    identifier = find_or_make(client, storage, entry, tags)
    log_params(client, identifier, entry.params)

    if entry.config:
        client.log_dict(identifier, entry.config, "config.json")
    _describe(client, identifier, entry)
    if entry.data is not None:
        _log_data(client, identifier, entry.data)

    return identifier


def close_run(
    client: "MlflowClient", identifier: str, storage: Path, folder: Path, entry: Entry
) -> None:
    """End an MLflow run as its entry says, with the numbers and files of its end."""
    for name, value in entry.metrics.items():
        _log_last(client, identifier, name, value, entry.ended or 0)
    for artifact in entry.artifacts:
        if (folder / artifact).exists():
            client.log_artifact(identifier, str(folder / artifact))
    with alone(str(client.tracking_uri)):
        _mark(client, identifier, storage, entry.status, entry.ended)


def is_active(client: "MlflowClient", identifier: str) -> bool:
    """Return whether a run is still there, and not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(identifier).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def find_or_make(client: "MlflowClient", storage: Path, entry: Entry, tags: Tags) -> str:
    """Return the MLflow run that has these tags' `run_id` (in this search, where they name one),
    marked as running.

    Two clones that train the same on one store share the MLflow run. On a server, whose processes
    no lock of ours reaches, both may make one at the same moment: then the older stays.
    """
    place = experiment_of(client, entry.experiment)
    tags = {**tags, "host": socket.gethostname(), "storage": str(storage)}
    with alone(str(client.tracking_uri)):
        run = _find(client, place, tags)
        if run is None:
            created = client.create_run(place, entry.begun, tags, entry.name)
            # two commands may have made one each: both go on with the older
            run = _find(client, place, tags) or created
            if run.info.run_id != created.info.run_id:
                client.delete_run(created.info.run_id)

        _restore(client, run)
        _rename(client, run, entry.name, tags)
        _mark(client, run.info.run_id, storage, "RUNNING", None)
    return str(run.info.run_id)


def _find(client: "MlflowClient", place: str, tags: Tags) -> Any:
    """Return the oldest MLflow run of a training, a deleted one only where there is no other, or
    None.

    Two searches may have the same training, each among its own.
    """
    from mlflow.entities import ViewType

    same = " and ".join(
        f"tags.`{key}` = '{tags[key]}'" for key in ("run_id", SEARCH) if key in tags
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


def _mark(
    client: "MlflowClient", identifier: str, storage: Path, state: str, ended: int | None
) -> None:
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
        client.set_terminated(identifier, status, ended)


def identity_of(storage: Path) -> str:
    """Return the name by which MLflow knows a folder of runs: drawn once, kept if it moves, drawn
    anew for a copy.
    """
    note = storage / "identity.json"
    with held(storage / "identity.lock", "the identity of a folder of runs", say=lambda _: None):
        inode = storage.stat().st_ino
        identity = records.read(note, records.Identity)
        if identity is not None and identity["inode"] == inode:
            return str(identity["id"])

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
            created = client.create_experiment(name, artifact_location=place and f"{place}/{name}")
            experiment = client.get_experiment(created)

        if experiment.lifecycle_stage != "active":
            client.restore_experiment(experiment.experiment_id)
            print(
                f"MLflow: experiment {name} was deleted, and is needed again; it is restored",
                flush=True,
            )

        for key, value in tags_of(name).items():
            if key not in experiment.tags or (key != NOTE and experiment.tags[key] != value):
                client.set_experiment_tag(experiment.experiment_id, key, value)

        return str(experiment.experiment_id)


def log_params(client: "MlflowClient", identifier: str, params: dict[str, Any]) -> None:
    """Record parameters, nested ones under dotted names; MLflow keeps for ever what was recorded
    first.
    """
    from mlflow.entities import Param

    recorded = client.get_run(identifier).data.params
    flat = {name: str(value)[:LONGEST_PARAM] for name, value in _flatten(params)}
    new = [Param(name, value) for name, value in flat.items() if name not in recorded]

    for start in range(0, len(new), PARAMS_AT_ONCE):
        client.log_batch(identifier, params=new[start : start + PARAMS_AT_ONCE])

    if differing := [name for name in flat if recorded.get(name, flat[name]) != flat[name]]:
        print(
            f"MLflow: run {identifier} keeps {', '.join(differing)} as recorded first", flush=True
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def log_points(client: "MlflowClient", identifier: str, points: list[MetricPoint]) -> None:
    """Record numbers by step, each once: a step that already stands there is left as it is.

    What there is of a number is asked for only where a step may be among it: the newest step of
    each comes with the run.
    """
    from mlflow.entities import Metric

    with alone(str(client.tracking_uri)):
        latest = client.get_run(identifier).data._metric_objs
        newest = {metric.key: metric.step for metric in latest}
        again = {point.name for point in points if point.step <= newest.get(point.name, -1)}
        present = {
            (name, metric.step)
            for name in again
            for metric in client.get_metric_history(identifier, name)
        }

        new = {
            (point.name, point.step): point
            for point in reversed(points)  # the first of several stays
            if (point.name, point.step) not in present
        }

        metrics = [
            Metric(point.name, point.value, point.time, point.step) for point in new.values()
        ]
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            client.log_batch(identifier, metrics=metrics[start : start + METRICS_AT_ONCE])


def _log_last(
    client: "MlflowClient", identifier: str, name: str, value: float, time_ms: int
) -> None:
    """Let a number that belongs to no step have this value: MLflow shows that of the last step."""
    latest = [
        metric for metric in client.get_run(identifier).data._metric_objs if metric.key == name
    ]
    if not latest or latest[0].value != value:
        step = latest[0].step + 1 if latest else 0
        client.log_metric(identifier, name, value, time_ms, step)


def _describe(client: "MlflowClient", identifier: str, entry: Entry) -> None:
    """Give a run its line of words, unless somebody wrote one."""
    if entry.description and NOTE not in client.get_run(identifier).data.tags:
        client.set_tag(identifier, NOTE, entry.description)


def _log_data(client: "MlflowClient", identifier: str, data: DataInput) -> None:
    """Name the data that a run is trained on; MLflow keeps the same data once."""
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": data.source})
    profile = json.dumps(data.samples)
    dataset = Dataset(data.name, data.digest[:36], "local", source, None, profile)
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(identifier, [DatasetInput(dataset, [context])])
