"""A project's folder may be called anything that a file system allows: the stages run, and write nothing outside it."""

import json
import os
from pathlib import Path

import pytest
from helpers import make_project, run_stage

NAME = "a%20b c?d#e 'f' \"g\" [h] ü"
SETTINGS = ("classify.recipe.duration={steps: 4}", "data.imagenet.synthetic.train=48", "classify.seeds=[0]")
OPTIONS = [word for setting in SETTINGS for word in ("--set", setting)]


def outside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_stages_run_in_a_folder_of_any_name(tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = make_project(tmp_path / NAME)
    before = outside(Path.cwd())
    for words in (("fetch", "imagenet"), ("shard", "imagenet"), ("train", "classify", "dwnet_micro")):
        run_stage(project, f"pipeline.{words[0]}", *words[1:], *OPTIONS)
    results = project / "adhoc/params/results/classify/dwnet_micro"
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["final"]["step"] == 4 and (project / "mlflow.db").is_file()
    assert list((project / "mlartifacts").rglob("samples.png")), "MLflow's artifacts lie elsewhere"
    assert os.listdir(tmp_path) == [NAME] and outside(Path.cwd()) == before
