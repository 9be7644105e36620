"""A project's folder may be called anything that a file system allows: the stages run, and write
nothing outside it.
"""

import argparse
import json
import os
from pathlib import Path

import pytest
from helpers import ONE_WEIGHT, SEALED, finished_record, make_project, run_stage, write_shards

from pipeline.project import cli
from pipeline.runs.make import make_runs
from pipeline.runs.run import mlflow_run_of
from pipeline.tracking.trainings import recorded, settled

NAME = "a%20b c?d#e 'f' \"g\" [h] ü"
SETTINGS = (
    "classify.recipe.duration={steps: 4}",
    "data.imagenet.synthetic.train=48",
    "classify.seeds=[0]",
)
OPTIONS = [word for setting in SETTINGS for word in ("--set", setting)]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_mlflow_keeps_runs_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = make_project(tmp_path / "place" / NAME)
    monkeypatch.chdir(project)
    call = cli.call(argparse.Namespace(params=None, set=[], out=None))
    shards = write_shards(project / "data/shards/imagenet", [5, 3])
    (run,) = make_runs(call, "classify", call.params.classify, "dwnet_micro", (0,), shards)
    for name in SEALED:
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(ONE_WEIGHT)
    run.finish(finished_record(run.id), list(SEALED))
    with recorded(call, [run]) as ready:
        ready()
    assert settled(run) and mlflow_run_of(run) and (project / "mlflow.db").is_file()
    assert {path.name for path in (project / "mlartifacts").rglob("*.*")} == {
        "config.json",
        "samples.png",
    }
    assert os.listdir(tmp_path / "place") == [NAME]


@pytest.mark.faults
def test_stages_run_in_a_folder_of_any_name(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project, before = make_project(tmp_path / "place" / NAME), names(Path.cwd())
    for words in (
        ("fetch", "imagenet"),
        ("shard", "imagenet"),
        ("train", "classify", "dwnet_micro"),
    ):
        run_stage(project, f"pipeline.{words[0]}", *words[1:], *OPTIONS)
    results = project / "adhoc/params/results/classify/dwnet_micro"
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["final"]["step"] == 4 and (project / "mlflow.db").is_file()
    assert list((project / "mlartifacts").rglob("samples.png")), "MLflow's artifacts lie elsewhere"
    assert os.listdir(tmp_path / "place") == [NAME] and names(Path.cwd()) == before
