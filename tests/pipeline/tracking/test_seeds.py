"""Runs that differ in the seed alone have a run above them that says what they come to together."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from helpers import SEALED, finished_record, make_project, write_shards

from pipeline.params.variants import MIXERS
from pipeline.project import cli
from pipeline.runs.make import make_runs
from pipeline.runs.run import mlflow_run_of
from pipeline.runs.spool import Spool
from pipeline.tracking.about import _defaults
from pipeline.tracking.database import connect
from pipeline.tracking.seeds import summary
from pipeline.tracking.trainings import recorded


def record(identifier: str, seed: int, last: float, best: float) -> dict[str, Any]:
    rows = [{"epoch": 1.0, "step": 5, "top1": top1} for top1 in (best, last)]
    return finished_record(identifier, seed, best=rows[0], final=rows[1])


def test_the_summary_of_three_seeds() -> None:
    found = summary(
        [record("a", 0, 10.0, 11.0), record("b", 1, 12.0, 15.0), record("c", 2, 14.0, 16.0)]
    )
    half = 4.3027 * 2 / 3**0.5  # Student's t of two degrees of freedom
    assert found == pytest.approx(
        {
            "eval/top1": 12.0,
            "seeds/top1_mean": 12.0,
            "seeds/top1_last": 12.0,
            "seeds/top1_best": 14.0,
            "seeds/top1_sd": 2.0,
            "seeds/top1_low": 12 - half,
            "seeds/top1_high": 12 + half,
            "seeds/count": 3.0,
        },
        rel=1e-4,
    )
    assert summary([]) == {} and "seeds/top1_sd" not in summary([record("a", 0, 1.0, 1.0)])


def test_the_kernel_of_every_mixer_is_known_or_there_is_none() -> None:
    known = {
        path.stem: _defaults(path.stem).get("kernel_size") for path in MIXERS.glob("[a-z]*.py")
    }
    assert known["dwnet"] == known["swin"] == 7
    assert {name for name, size in known.items() if size is None} == {"global_attention", "timm"}


def test_seeds_are_children_and_say_what_identifies_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = make_project(tmp_path / "project")
    monkeypatch.chdir(project)
    call = cli.call(argparse.Namespace(params=None, set=["classify.seeds=[0, 1]"], out="out"))
    shards = write_shards(project / "data/shards/imagenet", [5, 3])
    runs = make_runs(call, "classify", call.params.classify, "dwnet_micro", (0, 1), shards)
    for run in runs:
        Spool(run.spool, 0, 10).write_evaluation({"step": 5, "epoch": 1.0, "top1": 40.0 + run.seed})
        for name in SEALED:
            (run.folder / name).write_bytes(b"weights")
        run.finish(record(run.id, run.seed, 40.0 + run.seed, 41.0), list(SEALED))
    with recorded(call, runs) as ready:
        ready()
    client = connect(f"sqlite:///{project / 'mlflow.db'}")
    children = [client.get_run(mlflow_run_of(run)) for run in runs]
    (above,) = {child.data.tags["mlflow.parentRunId"] for child in children}
    parent = client.get_run(above)
    assert parent.info.run_name == "dwnet_micro seeds 0, 1" and parent.info.status == "FINISHED"
    assert parent.data.metrics["eval/top1"] == 40.5
    assert parent.info.start_time == min(child.info.start_time for child in children)
    assert parent.info.end_time == max(child.info.end_time for child in children)
    params = children[1].data.params
    told = {"mixer": "dwnet", "kernel_size": "7", "seed": "1", "dynamic": "False", "epochs": "6.0"}
    assert told.items() <= params.items() and int(params["macs"]) > 1e5
    assert not [name for name in params if name.startswith("recipe")]
    (data,) = children[1].inputs.dataset_inputs
    assert data.dataset.name == "imagenet" and len(data.dataset.digest) == 36
    assert "seed 1, trained on imagenet" in children[1].data.tags["mlflow.note.content"]
    assert children[1].data.tags["mlflow.source.name"] == "pipeline/train.py"
