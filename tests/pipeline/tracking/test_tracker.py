"""MLflow without Ray: a training is one MLflow run, each step stands there once, and nothing says
RUNNING for ever.
"""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.core.errors import UserError
from pipeline.core.locks import held
from pipeline.runs.run import Run
from pipeline.tasks.classify.recipe import Classify
from pipeline.tracking.database import connect
from pipeline.tracking.tracker import (
    Opening,
    Tracker,
    close_run,
    end_abandoned,
    identity_of,
    log_rows,
    open_run,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> "MlflowClient":
    return connect(f"sqlite:///{tmp_path_factory.mktemp('tracking') / 'mlflow.db'}")


def opened(client: "MlflowClient", storage: Path, name: str) -> tuple[Run, str]:
    run = Run(
        f"{storage.name}-{name}",
        "classify",
        "v",
        1,
        Classify(),
        Path("/nowhere"),
        storage / "unknown",
    )
    run = replace(run, folder=storage / run.id)
    return run, open_run(client, Opening(run, {"variant": "v"}, {"recipe": {"lr": 0.1}}))


def rows(*steps: int, loss: float = 1.0) -> list[dict[str, Any]]:
    return [{"run_id": "r", "step": step, "epoch": step / 10, "loss": loss} for step in steps]


def curve(client: "MlflowClient", identifier: str, name: str = "loss") -> list[tuple[int, float]]:
    return sorted(
        (point.step, point.value) for point in client.get_metric_history(identifier, name)
    )


def status(client: "MlflowClient", identifier: str) -> str:
    return str(client.get_run(identifier).info.status)


def test_a_step_that_was_taken_again_stands_there_once(
    client: "MlflowClient", tmp_path: Path
) -> None:
    _, identifier = opened(client, tmp_path, "again")
    log_rows(client, identifier, rows(10, 20))
    log_rows(client, identifier, rows(20, 30, loss=2.0))
    assert curve(client, identifier) == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert curve(client, identifier, "epoch") == [(10, 1.0), (20, 2.0), (30, 3.0)]


def test_a_continued_training_is_the_same_mlflow_run(
    client: "MlflowClient", tmp_path: Path
) -> None:
    _, identifier = opened(client, tmp_path, "one")
    close_run(client, identifier, None, None, tmp_path)
    assert status(client, identifier) == "FAILED"
    assert (
        opened(client, tmp_path, "one")[1] == identifier and status(client, identifier) == "RUNNING"
    )
    assert opened(client, tmp_path, "two")[1] != identifier
    log_rows(client, identifier, rows(10))
    for _ in range(2):  # a kill may come before the driver notes that it closed the run
        close_run(client, identifier, {"history": rows(10, 20), "parameters": 5}, None, tmp_path)
    assert status(client, identifier) == "FINISHED"
    assert curve(client, identifier) == [(10, 1.0), (20, 1.0)]
    assert curve(client, identifier, "parameters") == [(0, 5.0)]


def test_what_nobody_trains_any_more_is_ended_and_nothing_else(
    client: "MlflowClient", tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    runs = {name: opened(client, here, name) for name in ("abandoned", "training")}
    runs["of another clone"] = opened(client, elsewhere, "abandoned")
    for run, _ in runs.values():
        run.folder.mkdir()
    (here / runs["of another clone"][0].id).mkdir()
    with held(runs["training"][0].folder / "lock", "training"):
        end_abandoned(client, "classify", here)
    assert {name: status(client, identifier) for name, (_, identifier) in runs.items()} == {
        "abandoned": "KILLED",
        "training": "RUNNING",
        "of another clone": "RUNNING",
    }


def test_two_clones_that_train_the_same_share_a_run_and_neither_ends_it_for_the_other(
    client: "MlflowClient", tmp_path: Path
) -> None:
    clones = [tmp_path / name / "runs" for name in ("a", "b")]
    identifiers = {opened(client, clone, "same")[1] for clone in clones}
    assert len(identifiers) == 1
    identifier = identifiers.pop()
    close_run(client, identifier, None, None, clones[1])
    assert status(client, identifier) == "RUNNING", "the first clone is still at it"
    close_run(client, identifier, {"history": rows(10), "parameters": 5}, None, clones[0])
    close_run(client, identifier, None, None, clones[1])
    assert status(client, identifier) == "FINISHED"


def test_a_copy_of_a_folder_of_runs_is_another_one(tmp_path: Path) -> None:
    first = identity_of(tmp_path / "runs")
    assert identity_of(tmp_path / "runs") == first
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    assert identity_of(tmp_path / "copy") != first
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert identity_of(tmp_path / "moved") == first
    (tmp_path / "moved" / "identity.json").write_text("[]")
    assert len(identity_of(tmp_path / "moved")) == len(first)


def test_what_was_deleted_comes_back_when_its_training_goes_on(
    client: "MlflowClient", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, identifier = opened(client, tmp_path, "deleted")
    client.delete_run(identifier)
    assert (
        opened(client, tmp_path, "deleted")[1] == identifier
        and "was deleted" in capsys.readouterr().out
    )
    client.delete_experiment(client.get_run(identifier).info.experiment_id)
    assert opened(client, tmp_path, "deleted")[1] == identifier
    assert (
        "experiment classify was deleted, and is needed again; it is restored"
        in capsys.readouterr().out
    )
    assert client.get_run(identifier).info.lifecycle_stage == "active"


def test_a_variant_with_another_name_goes_on_with_its_run(
    client: "MlflowClient", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, identifier = opened(client, tmp_path, "renamed")
    again = open_run(
        client,
        Opening(replace(run, variant="w"), {"variant": "w"}, {"recipe": {"lr": 0.2}, "more": 1}),
    )
    data = client.get_run(again)
    assert (
        again == identifier
        and data.info.run_name == "w seed 1"
        and data.data.tags["variant"] == "w"
    )
    assert data.data.params == {"recipe.lr": "0.1", "more": "1"}
    assert "keeps recipe.lr as recorded first" in capsys.readouterr().out


def test_a_long_curve_is_recorded_whole(client: "MlflowClient", tmp_path: Path) -> None:
    _, identifier = opened(client, tmp_path, "long")
    log_rows(client, identifier, rows(*range(600)))
    assert len(curve(client, identifier)) == len(curve(client, identifier, "epoch")) == 600


def test_a_killed_tracker_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="the process that writes to MLflow was killed"),
        Tracker("sqlite://") as tracker,
    ):
        os.kill(tracker.submit(os.getpid).result(), signal.SIGKILL)
        tracker.submit(os.getpid).result()
