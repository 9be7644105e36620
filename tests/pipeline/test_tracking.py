"""MLflow without Ray: a training is one MLflow run, each step stands there once, and nothing says RUNNING for ever."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.engine.run import Run
from pipeline.locks import held
from pipeline.params import Classify
from pipeline.tracking import Opening, close_run, connect, end_abandoned, log_rows, open_run

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> "MlflowClient":
    return connect(f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}")


def opened(client: "MlflowClient", storage: Path, name: str) -> tuple[Run, str]:
    run = Run(f"{storage.name}-{name}", "classify", "v", 1, Classify(), Path("/nowhere"), storage / "unknown")
    run = replace(run, folder=storage / run.id)
    return run, open_run(client, Opening(run, {"variant": "v"}, {"recipe": {"lr": 0.1}}), storage)


def rows(*steps: int, loss: float = 1.0) -> list[dict[str, Any]]:
    return [{"run_id": "r", "step": step, "epoch": step / 10, "loss": loss} for step in steps]


def curve(client: "MlflowClient", identifier: str, name: str = "loss") -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(identifier, name))


def status(client: "MlflowClient", identifier: str) -> str:
    return str(client.get_run(identifier).info.status)


def test_a_step_that_was_taken_again_stands_there_once(client: "MlflowClient", tmp_path: Path) -> None:
    _, identifier = opened(client, tmp_path, "again")
    log_rows(client, identifier, rows(10, 20))
    log_rows(client, identifier, rows(20, 30, loss=2.0))
    assert curve(client, identifier) == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert curve(client, identifier, "epoch") == [(10, 1.0), (20, 2.0), (30, 3.0)]


def test_a_continued_training_is_the_same_mlflow_run(client: "MlflowClient", tmp_path: Path) -> None:
    _, identifier = opened(client, tmp_path, "one")
    close_run(client, identifier, None, None)
    assert status(client, identifier) == "FAILED"
    assert opened(client, tmp_path, "one")[1] == identifier and status(client, identifier) == "RUNNING"
    assert opened(client, tmp_path, "two")[1] != identifier
    log_rows(client, identifier, rows(10))
    for _ in range(2):  # a kill may come before the driver notes that it closed the run
        close_run(client, identifier, {"history": rows(10, 20), "parameters": 5}, None)
    assert status(client, identifier) == "FINISHED"
    assert curve(client, identifier) == [(10, 1.0), (20, 1.0)]
    assert curve(client, identifier, "parameters") == [(0, 5.0)]


def test_what_nobody_trains_any_more_is_ended_and_nothing_else(client: "MlflowClient", tmp_path: Path) -> None:
    runs = {name: opened(client, tmp_path, name) for name in ("abandoned", "training", "elsewhere")}
    (tmp_path / "here").mkdir()
    for name in ("abandoned", "training"):
        (tmp_path / "here" / runs[name][0].id).mkdir()
    with held(tmp_path / "here" / runs["training"][0].id / "lock", "training"):
        end_abandoned(client, "classify", tmp_path / "here")
    assert {name: status(client, identifier) for name, (_, identifier) in runs.items()} == {
        "abandoned": "KILLED",
        "training": "RUNNING",
        "elsewhere": "RUNNING",
    }
