"""A search for real: Ray Tune, MLflow on SQLite; failed trials, killed drivers, stopped trials, two
workers a trial.
"""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PROJECT, run_stage
from killing import wait_for
from trained import trained_here

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.search.settings import name_of

SPACE: dict[str, Any] = {
    "kernel_size": [1, 3, 3],
    "recipe.optimizer.lr": [0.002, 1e38],
    "group_channels": [1, 5],
}
ASHA: dict[str, Any] = {
    "space": {"mixer": ["dwnet", "dynamic_dwnet"], "kernel_size": [1, 3, 5]},
    "scheduler": "asha",
    "recipe": {"duration": {"epochs": 4}},
    "asha": {"reduction": 2},
}
Table = list[dict[str, str]]


@pytest.fixture(scope="module")
def project(small_shards: Path) -> Path:
    return small_shards.parents[2]


def options(project: Path, out: str, tune: dict[str, Any], *settings: str) -> list[str]:
    """Write the parameters of a search in a store and a root of its own; return the command's
    options.
    """
    tree = yaml.safe_load((project / "params.yaml").read_text())
    tree["tune"] = {
        "base": {"mixer": "dwnet", "size": "micro"},
        "recipe": {"duration": {"epochs": 2}},
        "concurrent": 2,
        **tune,
    }
    tree["cluster"] = {"storage": f"{project}/runs-{out}", "workers": 1}
    (project / f"{out}.yaml").write_text(yaml.safe_dump(tree))
    flags = [part for item in settings for part in ("--set", item)]
    return ["--params", f"{out}.yaml", "--out", str(project / "out" / out), *flags]


def results(project: Path, out: str) -> tuple[Table, dict[str, Any]]:
    """Return trials.csv and best.json."""
    folder = project / "out" / out / "results" / "tune"
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "best.json").read_text())


def mlflow_runs(project: Path, table: Table) -> tuple[Any, list[Any]]:
    """Return the search's MLflow run and all its trials."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    child = client.get_run(table[0]["mlflow_run_id"])
    parent = client.get_run(child.data.tags["mlflow.parentRunId"])
    same = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return parent, list(client.search_runs([parent.info.experiment_id], same))


@pytest.fixture(scope="module")
def grid(
    project: Path, ray_address: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, int]:
    """A search whose driver was killed when a trial had finished, and started again; return when
    what had finished then was sealed.
    """
    marker = tmp_path_factory.mktemp("grid") / "met"
    return kill_driver(project, "grid", "search.noted state=finished", ray_address, marker, SPACE)


@pytest.fixture(scope="module")
def searched(project: Path, grid: dict[str, int]) -> Table:
    return results(project, "grid")[0]


def test_every_setting_has_a_row_and_a_failed_one_stops_nobody(
    project: Path, searched: Table
) -> None:
    assert [row["state"] for row in searched] == ["finished", "failed"] * 3
    assert searched[2:4] == searched[4:6]  # a value that is named twice is one run
    for row in searched:
        assert row["seed"] == "0" and row["group_channels"] == "1"
        if row["state"] == "failed":
            assert "non-finite" in row["error"] and float(row["recipe.optimizer.lr"]) == 1e38
        else:
            assert (
                float(row["epoch"]) == 2 and int(row["parameters"]) > 1e5 and int(row["macs"]) > 1e5
            )
            assert float(row["train_images_per_second"]) > 0 and float(row["wall_time_s"]) > 0
    folder = project / "out/grid/results/tune"
    left_out = json.loads((folder / "search.json").read_text())["left_out"]
    assert len(left_out) == 6 and {one["values"]["group_channels"] for one in left_out} == {5}
    assert {"heat_all.png", "curves.png", "pareto.png"} <= {path.name for path in folder.iterdir()}


def test_the_best_setting_is_the_best(project: Path, searched: Table) -> None:
    best = results(project, "grid")[1]
    finished = [row for row in searched if row["state"] == "finished"]
    row = max(finished, key=lambda row: float(row["top1"]))
    assert best["mean"] == float(row["top1"]) and best["run_ids"] == [row["run_id"]]
    assert best["values"]["kernel_size"] == int(row["kernel_size"])


def test_trials_are_children_with_the_values_of_the_space(project: Path, searched: Table) -> None:
    parent, children = mlflow_runs(project, searched)
    assert parent.info.status == "FINISHED" and len(children) == 4
    scores = [float(row["top1"]) for row in searched if row["state"] == "finished"]
    assert parent.data.metrics == {"best/top1": max(scores)}
    files = {path.name for path in Path(parent.info.artifact_uri.removeprefix("file://")).iterdir()}
    assert {"trials.csv", "best.json", "pareto.png"} <= files
    for row in searched:
        child = next(run for run in children if run.info.run_id == row["mlflow_run_id"])
        lr = str(float(row["recipe.optimizer.lr"]))
        values = {**{name: row[name] for name in SPACE}, "seed": "0", "recipe.optimizer.lr": lr}
        assert values.items() <= child.data.params.items()
        assert child.info.run_name.startswith(
            f"kernel_size={row['kernel_size']} recipe.optimizer.lr="
        )
        assert child.info.status == ("FINISHED" if row["state"] == "finished" else "FAILED")
        if row["state"] == "finished":
            assert child.data.metrics["eval/top1"] == float(row["top1"])
            assert child.data.metrics["cost/parameters"] == int(row["parameters"])


def test_a_trial_is_the_training_that_train_does(project: Path, searched: Table) -> None:
    """The same setting by `train` alone, in a store of its own: the same run, the same bits."""
    row = searched[2]
    setting = {
        "mixer": "dwnet",
        "size": "micro",
        "kernel_size": 3,
        "group_channels": 1,
        "recipe": {
            "duration": {"epochs": 2},
            "optimizer": {"lr": 0.002},
            "hold_out": 0.1,
            "evaluate_on": "held_out",
        },
    }
    flags = options(
        project,
        "alone",
        {},
        f"classify.variants={yaml.safe_dump({'v': setting}, default_flow_style=True)}",
    )
    with trained_here():
        run_stage(project, "pipeline.train", "classify", "v", *flags)
    metrics = json.loads((project / "out/alone/results/classify/v/metrics.json").read_text())
    assert metrics["seeds"][0]["run_id"] == row["run_id"]
    assert {name: repr(metrics["final"][name]) for name in ("top1", "top5", "loss")} == {
        name: repr(float(row[name])) for name in ("top1", "top5", "loss")
    }
    trained, searched_too = (
        (project / f"runs-{out}" / row["run_id"] / "last.safetensors").read_bytes()
        for out in ("alone", "grid")
    )
    assert trained == searched_too


def seal(project: Path, out: str, run_id: str) -> int:
    """Return when a run was sealed."""
    return (project / f"runs-{out}" / run_id / "finished.json").stat().st_mtime_ns


def kill_driver(
    project: Path, out: str, point: str, address: str, marker: Path, space: dict[str, Any]
) -> dict[str, int]:
    """Kill the driver of a search at a point and start it again; return when each run that had
    finished before was sealed.
    """
    flags = options(project, out, {"space": space})
    environment = {
        **os.environ,
        "RAY_ADDRESS": address,
        "PYTHONPATH": str(PROJECT),
        failpoints.VARIABLE: f"{point} once={marker}",
    }
    with open(project / f"{out}.log", "wb") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tune", *flags],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=log,
        )
    wait_for(marker, driver)
    assert driver.wait() == -signal.SIGKILL
    seals = (project / f"runs-{out}").glob("*/finished.json")
    before = {path.parent.name: path.stat().st_mtime_ns for path in seals}
    run_stage(project, "pipeline.tune", *flags)
    return before


def check_went_on(project: Path, out: str, before: dict[str, int]) -> None:
    """Check that nothing was trained again that had finished, and MLflow has each trial once."""
    from mlflow import MlflowClient

    table, _ = results(project, out)
    assert {name: seal(project, out, name) for name in before} == before
    parent, children = mlflow_runs(project, table)
    assert parent.info.status == "FINISHED"
    ids = {run.data.tags["run_id"]: run.info.run_id for run in children}
    assert len(ids) == len(children) and ids.keys() == {row["run_id"] for row in table}
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    for row in table:
        points = client.get_metric_history(ids[row["run_id"]], "eval/top1")
        steps = [point.step for point in points]
        assert len(steps) == len(set(steps)) == (2 if row["state"] == "finished" else 0)


def test_a_killed_driver_goes_on_where_it_was(project: Path, grid: dict[str, int]) -> None:
    assert grid
    check_went_on(project, "grid", grid)


@pytest.mark.faults
@pytest.mark.parametrize(
    "point", ["search.recorded trial=1", "search.recorded trial=4", "search.closing"]
)
def test_a_driver_killed_anywhere_goes_on(
    project: Path, ray_address: str, tmp_path: Path, point: str
) -> None:
    out = "killed_" + name_of({"at": point})
    space = {"kernel_size": [1, 3, 5], "recipe.optimizer.lr": [0.002, 0.001]}
    before = kill_driver(project, out, point, ray_address, tmp_path / "met", space)
    check_went_on(project, out, before)
    table, _ = results(project, out)
    assert [row["state"] for row in table] == ["finished"] * 6


@pytest.mark.faults
def test_a_trial_whose_process_dies_is_taken_up_again(
    project: Path, tmp_path: Path, ray_cluster: None
) -> None:
    tune = {"space": {"kernel_size": [1, 3]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(failpoints.VARIABLE, f"step step=14 once={tmp_path / 'met'}")
        run_stage(project, "pipeline.tune", *options(project, "dying", tune))
    run_stage(project, "pipeline.tune", *options(project, "calm", tune))
    assert (tmp_path / "met").exists()
    died, calm = (results(project, out)[0] for out in ("dying", "calm"))
    assert [(row["state"], row["top1"], row["loss"]) for row in died] == [
        (row["state"], row["top1"], row["loss"]) for row in calm
    ]


def search_with_asha(project: Path, out: str, **tune: Any) -> Table:
    """Run six trials of which successive halving stops some; all resources are free afterwards."""
    from ray.util import placement_group_table

    run_stage(project, "pipeline.tune", *options(project, out, {**ASHA, **tune}))
    table = results(project, out)[0]
    states = [row["state"] for row in table]
    assert len(states) == 6 and set(states) == {"finished", "stopped"}
    assert all(float(row["epoch"]) in (1, 2) for row in table if row["state"] == "stopped")
    assert all(float(row["epoch"]) == 4 for row in table if row["state"] == "finished")
    assert [
        name for name, group in placement_group_table().items() if group["state"] != "REMOVED"
    ] == []
    return table


def test_stopped_trials_end_by_themselves_and_a_whole_search_is_published_without_ray(
    project: Path,
    ray_cluster: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = search_with_asha(project, "asha")
    children = mlflow_runs(project, table)[1]
    assert {run.data.tags["state"] for run in children} == {"finished", "stopped"}
    capsys.readouterr()
    (project / "dvc.yaml").write_text("stages: {tune: {cmd: python -m pipeline.tune}}")
    run_stage(project, "pipeline.plan", "--json", *options(project, "asha", ASHA))
    (project / "dvc.yaml").unlink()
    stages = json.loads(capsys.readouterr().out)["stages"]
    row = next(stage for stage in stages if stage["stage"] == "tune")
    assert (row["runs"], row["finished"], row["steps"]) == (6, 6, 0)
    # whoever asked for Ray now would fail
    monkeypatch.setattr("pipeline.cluster.connection.connected", None)
    run_stage(project, "pipeline.tune", *options(project, "asha", ASHA))
    assert results(project, "asha")[0] == table


@pytest.mark.faults
@pytest.mark.parametrize("time", range(3))
def test_stopped_trials_end_three_times(project: Path, ray_cluster: None, time: int) -> None:
    search_with_asha(project, f"asha{time}")


@pytest.mark.faults
def test_stopped_trials_of_two_workers_end_too(project: Path, ray_cluster: None) -> None:
    table = search_with_asha(project, "two", workers=2)
    assert {row["world_size"] for row in table if row["state"] == "finished"} == {"2"}


@pytest.mark.faults
def test_a_trial_whose_controller_is_killed_gives_its_place_back(
    project: Path, tmp_path: Path, ray_cluster: None
) -> None:
    """Of the cluster's four CPUs the first of the trials, one after the other, takes three."""
    tune = {"space": {"kernel_size": [1, 3]}, "workers": 3, "concurrent": 1}
    fault = f"controller.reported once={tmp_path / 'met'}"
    recipe = "classify.recipe.micro_batches=3"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(failpoints.VARIABLE, fault)
        run_stage(project, "pipeline.tune", *options(project, "headless", tune, recipe))
    assert [row["state"] for row in results(project, "headless")[0]] == ["failed", "finished"]


def test_workers_that_do_not_divide_a_batch_are_refused(project: Path) -> None:
    with pytest.raises(UserError, match=r"tune.workers 3 does not divide the 2 micro-batches"):
        run_stage(
            project, "pipeline.tune", *options(project, "three", {"space": SPACE, "workers": 3})
        )


def test_what_the_cluster_does_not_have_is_named(project: Path, ray_cluster: None) -> None:
    with pytest.raises(
        UserError, match=r"a trial of 1 workers needs 64 CPU, the Ray cluster has 4"
    ):
        run_stage(
            project,
            "pipeline.tune",
            *options(project, "large", {"space": SPACE}, "cluster.cpus_per_worker=64"),
        )
