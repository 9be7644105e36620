"""The stage as a user calls it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from helpers import PROJECT

PARAMS = "classify: {variants: {dwnet_micro: {mixer: dwnet, size: micro}}}\n"


def compare(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "pipeline.compare", *options]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def publish(root: Path, top1: float) -> Path:
    point = {"top1": top1, "top5": 90.0, "loss": 1.0, "epoch": 12, "step": 560}
    seed = {
        "seed": 0,
        "run_id": "r0",
        "mlflow_run_id": "m0",
        "final": point,
        "best": point,
        "train_images_per_second": 800.0,
        "wall_time_s": 40.0,
    }
    metrics = {
        "task": "classify",
        "variant": "dwnet_micro",
        "mixer": "dwnet",
        "size": "micro",
        "model": "dwnet_micro",
        "overrides": {},
        "main_metric": "top1",
        "parameters": 123456,
        "world_size": 2,
        "device": "cpu",
        "data": {
            "dataset": "imagenet",
            "source": "synthetic",
            "manifest": "00",
            "train_samples": 3000,
            "val_samples": 1000,
            "classes": 10,
        },
        "recipe": {
            "duration": {"epochs": 12, "steps": None},
            "image_size": 64,
            "micro_batch": 32,
            "micro_batches": 2,
        },
        "commit": "abc",
        "dirty": True,
        "final": point,
        "best": point,
        "train_images_per_second": 800.0,
        "wall_time_s": 40.0,
        "seeds": [seed],
    }
    path = root / "results/classify/dwnet_micro/metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics))
    return path


def test_it_writes_the_report_quickly_and_without_torch(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    publish(tmp_path, 61.2)
    start = time.monotonic()
    done = compare(tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 20  # seconds on a busy machine, a few on an idle one
    assert done.stdout.strip().endswith("report.html")
    assert "| 61.2 |" in (tmp_path / "results/report/report.md").read_text()
    code = (
        "import sys, pipeline.compare; sys.exit(bool({'torch', 'scipy', 'matplotlib', "
        "'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    publish(tmp_path, 61.2).write_text("{")
    done = compare(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "metrics.json" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_ad_hoc_call_reads_its_own_results_first_and_writes_beside(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    publish(tmp_path, 61.2)
    done = compare(tmp_path, "--set", "compare.least_seeds=4", "--out", "mine")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "results/report").exists()
    text = (tmp_path / "mine/results/report/report.md").read_text()
    assert "| 61.2 |" in text
    assert "(../../../results/classify/dwnet_micro/metrics.json)" in text
    assert "at least 4 seeds" in text
    publish(tmp_path / "mine", 44.4)
    compare(tmp_path, "--set", "compare.least_seeds=4", "--out", "mine")
    assert "| 44.4 |" in (tmp_path / "mine/results/report/report.md").read_text()
