"""Groups of workers: side by side, and asked to leave."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers import run_stage
from killing import VARIANT, options, outcome, starts, train, train_apart, wait_for
from trained import trained_here

from pipeline.core.files import sha256_file

BOTH = (VARIANT, "dynamic_dwnet_micro")
TIMES = {"wall_time_s", "train_images_per_second", "mlflow_run_id", "run_id"}


@pytest.fixture(scope="module")
def project(small_shards: Path, ray_cluster: None) -> Path:
    return small_shards.parents[2]


def train_both(project: Path, out: str) -> None:
    settings = options(project, out, "cluster.workers=1", "classify.recipe.duration={steps: 20}")
    run_stage(project, "pipeline.train", "classify", *BOTH, *settings)


def published(project: Path, out: str) -> dict[str, Any]:
    """Return what a training published of both variants, but for times and speeds."""
    root = project / "out" / out / "results/classify"
    return {
        str(path.relative_to(root)): _content(path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.name == "metrics.json":
        return _timeless(json.loads(path.read_text()))
    if path.name == "history.csv":
        rows = [line.split(",") for line in path.read_text().splitlines()]
        speed = rows[0].index("images_per_second")
        return [row[:speed] + row[speed + 1 :] for row in rows]
    return None if path.name == "README.md" else sha256_file(path)  # a card tells the time taken


def _timeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _timeless(value) for key, value in tree.items() if key not in TIMES}
    if isinstance(tree, list):
        return [_timeless(value) for value in tree]
    return tree


@pytest.mark.faults  # within rounding, and on two ranks each, in the tests of `train`
def test_side_by_side_gives_what_one_by_one_does(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_both(project, "beside")
    assert "2 runs in 2 groups of workers, side by side" in capsys.readouterr().out
    with trained_here():
        train_both(project, "alone")
    assert published(project, "beside") == published(project, "alone")


@pytest.mark.faults  # two trainings, one begun twice
def test_a_driver_that_is_asked_to_end_leaves_a_checkpoint(
    project: Path, ray_address: str, tmp_path: Path
) -> None:
    """The run goes on from the very step, and ends as one that nobody asked anything."""
    train(project, "unasked", "cluster.workers=1")
    marker = tmp_path / "met"
    fault = f"step do=slow;step step=22 do=slow once={marker}"
    driver = train_apart(project, "leaving", ray_address, fault, "cluster.workers=1")
    wait_for(marker, driver)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 143, (project / "leaving.log").read_text()
    assert "Traceback" not in (project / "leaving.log").read_text()
    train(project, "leaving", "cluster.workers=1")
    begun, left = starts(project, "leaving"), left_at(project, "leaving")
    assert begun == [0, *left] and left[0] >= 22
    assert outcome(project, "leaving") == outcome(project, "unasked")


def left_at(project: Path, out: str) -> list[int]:
    from killing import run_folder

    lines = (run_folder(project, out) / "progress.jsonl").read_text().splitlines()
    notes = [json.loads(line).get("note", "") for line in lines]
    return [int(note.split()[3]) for note in notes if note.startswith("leaves at")]
