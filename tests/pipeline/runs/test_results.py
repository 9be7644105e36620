"""What is published is what its readers take: one schema a file."""

import json
from argparse import Namespace
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ONE_WEIGHT, PROJECT, SEALED, finished_record, write_shards
from pydantic import ValidationError

from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.report.results import VariantResult, read_results
from pipeline.runs.make import make_runs
from pipeline.runs.publish import publish
from pipeline.runs.results.files import line_of, publish_json, publish_table, read_json, read_table
from pipeline.runs.results.search import BestFile
from pipeline.runs.results.training import HistoryLine, Metrics, PredictionsFile

Published = Callable[..., VariantResult]


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """Publish runs of two seeds with such records, and read them back as the report does."""
    for name in ("pipeline", "models"):
        (tmp_path / name).symlink_to(PROJECT / name)
    params = load(PROJECT / "params.yaml")
    call = Call(Namespace(params="p.yaml", set=[], out=None), params, tmp_path, Folders(tmp_path))
    shards = write_shards(tmp_path / "data/shards/imagenet", [5, 3])
    runs = make_runs(call, "classify", params.classify, "dwnet_micro", (0, 1), shards)

    def finished(**changes: Any) -> VariantResult:
        for run in runs:
            run.folder.mkdir(parents=True, exist_ok=True)
            for name in SEALED:
                (run.folder / name).write_bytes(ONE_WEIGHT)
            run.finish(finished_record(run.id, run.seed, **changes), list(SEALED))
            note = {"store": "project", "run_id": "m", "offset": 0, "entry": ""}
            write_json(run.folder / "mlflow" / "classify.note.json", note)
        publish(call, runs)
        return read_results(call).of("classify")[names.index("dwnet_micro")]

    names = list(params.classify.variants)
    return finished


def test_a_metric_that_is_not_defined_is_left_out_by_the_report(published: Published) -> None:
    row = {"epoch": 1.0, "step": 5, "top1": 40.0, "real_top1": None}
    result = published(final=row, history=[row])
    assert result.metrics is not None
    assert [seed.final for seed in result.metrics.seeds] == [row, row]
    assert result.metrics.seeds[0].last == {"epoch": 1.0, "step": 5, "top1": 40.0}
    assert [line.values for line in result.history] == [{"epoch": 1.0, "step": 5, "top1": 40.0}] * 2


def test_the_files_hold_what_was_measured_and_nothing_else(published: Published) -> None:
    folder = published(skipped_steps=3, adopted={"from": "b", "changed_code": ["x.py"]}).folder
    tree = json.loads((folder / "metrics.json").read_text())
    row = {"epoch": 1.0, "step": 5, "top1": 40.0}
    assert tree["seeds"][1] == {
        "seed": 1,
        "run_id": tree["seeds"][1]["run_id"],
        "mlflow_run_id": "m",
        "final": row,
        "best": row,
        "train_images_per_second": 10.0,
        "wall_time_s": 3.0,
        "skipped_steps": 3,
        "adopted": {"from": "b", "changed_code": ["x.py"]},
    }
    assert '"step": 5,' in (folder / "metrics.json").read_text()
    assert (folder / "history.csv").read_text() == (
        "seed,epoch,step,lr,train_loss,skipped_steps,images_per_second,top1\n"
        "0,1.0,5,0.1,1.5,,10.0,40.0\n1,1.0,5,0.1,1.5,,10.0,40.0\n"
    )
    assert (folder / "per_class.csv").read_text() == "seed,class,top1\n0,n01,40.0\n1,n01,40.0\n"


def test_what_was_taken_for_what_is_published(published: Published) -> None:
    assert not (published().folder / "confused.csv").exists()
    folder = published(confused=[{"label": "cat", "guess": "dog", "images": 5}]).folder
    assert (folder / "confused.csv").read_text() == (
        "seed,label,guess,images\n0,cat,dog,5\n1,cat,dog,5\n"
    )


def test_which_images_were_right_is_published_in_few_bytes(published: Published) -> None:
    """50,000 images of three seeds take less than 200 KB; runs from before have no such file."""
    assert not (published().folder / "predictions.json").exists()
    right = np.random.default_rng(0).random(50_000) < 0.8
    bits = b64encode(np.packbits(right).tobytes()).decode()
    path = published(right={"images": 50_000, "bits": bits}).folder / "predictions.json"
    assert path.stat().st_size < 2 * 8_600
    found = read_json(path, PredictionsFile)
    assert [row.seed for row in found.seeds] == [0, 1]
    assert (found.seeds[1].right == right).all()
    tree = json.loads(path.read_text())
    tree["seeds"][0]["images"] -= 8
    write_json(path, tree)
    with pytest.raises(UserError, match=r"predictions.json does not fit .*not those of as many"):
        read_json(path, PredictionsFile)


def test_the_plan_and_the_report_read_the_same_file(published: Published) -> None:
    path = published().folder / "metrics.json"
    tree = json.loads(path.read_text())
    assert read_json(path, Metrics).seeds[0].final["step"] == 5
    write_json(path, {**tree, "added_later": 1})
    read_json(path, Metrics)
    write_json(path, {**tree, "overrides": {"embed_dim": 0}})
    with pytest.raises(UserError, match=r"metrics.json does not fit at 'overrides': embed_dim .*0"):
        read_json(path, Metrics)


def test_what_readers_would_refuse_is_not_published(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    publish_json(path, BestFile, {"values": {"lr": 0.1}, "mean": float("nan"), "seeds": (0, 1)})
    assert json.loads(path.read_text()) == {"values": {"lr": 0.1}, "mean": None, "seeds": [0, 1]}
    with pytest.raises(ValidationError, match="new_key"):
        publish_json(path, BestFile, {"values": None, "new_key": 1})
    with pytest.raises(ValidationError, match="top1"):
        publish_table(path, HistoryLine, ["seed", "top1"], [{"seed": 0, "top1": "forty"}])


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    publish_table(
        path, HistoryLine, ["seed", "step", "top1"], [{"seed": 0, "step": 5, "top1": float("inf")}]
    )
    (cells,) = read_table(path)
    assert cells == {"seed": "0", "step": "5"}
    assert line_of(path, 2, HistoryLine, cells).model_dump(exclude_none=True) == {
        "seed": 0,
        "step": 5,
    }
