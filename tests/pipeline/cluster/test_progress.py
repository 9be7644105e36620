"""The line of a training: one that moves on a terminal, plain ones in a pipe."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import PROJECT
from terminal import on_a_terminal

from pipeline.cluster.progress import RunProgress
from pipeline.submission.known import LocalRun

TRAINING = """
import sys
from pathlib import Path
import torch
from pipeline.cluster import progress
from pipeline.loading.micro_batches import Ranks
from pipeline.runs.run import Run
from pipeline.tasks.classify.recipe import Classify
from pipeline.training import loop

progress.LOOK_S = loop.PROGRESS_EVERY_S = 0.1
recipe = {"duration": {"steps": 40}, "image_size": 32, "eval_resize": 32, "micro_batch": 8,
          "micro_batches": 1, "schedule": {"warmup": None}, "evaluate_every": {"steps": 10},
          "augment": {"rand_augment": None}}
section = Classify.model_validate(
    {"recipe": recipe, "variants": {"v": {"mixer": "dwnet", "size": "micro"}}})
run = Run("id", "classify", "v", 1, section, Path(sys.argv[1]), Path(sys.argv[2]))
with progress.following([run]):
    for row in loop.evaluations(run, Ranks(), torch.device("cpu"), lambda model: model):
        if row["step"] == 20:
            print("a sentence meanwhile", flush=True)
print("after")
"""
LINE = r"\[1/1\] v seed 1: epoch \d+\.\d/\d+  [^\r\n\x1b]*\d+ images/s  [^\r\n\x1b]* left"
MOVE = "\x1b[2K"


def numbers(**changes: Any) -> dict[str, Any]:
    plain = {"step": 2, "steps": 40, "epoch": 0.2, "epochs": 4.0, "loss": 2.5, "skipped": 0}
    return {**plain, "images_per_second": 812.3, "seconds_left": 9000.0, **changes}


@pytest.fixture
def progress(tmp_path: Path) -> RunProgress:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 4, "time": 1, "eval/top1": 31.25, "eval/top5": 70.0}\n'
        '{"step": 8, "time": 2, "eval/top1": 45.678}\n'
    )
    return RunProgress(tmp_path / "progress.jsonl", tmp_path / "metrics.jsonl", "classify")


def test_a_line_says_how_far_a_run_is(progress: RunProgress) -> None:
    expected = "epoch 0.2/4  loss 2.500  812 images/s  2.5 h left"
    assert progress.text(numbers()) == expected
    assert "loss 2.500  top-1 31.2  812 images/s" in progress.text(numbers(step=7))
    assert "top-1 45.7  3 passed over" in progress.text(numbers(step=9, skipped=3))
    assert "step 2/40" in progress.text(numbers(epochs=0.5))


@pytest.mark.parametrize("columns", [72, 80])
def test_a_line_fits_and_names_its_run(progress: RunProgress, columns: int) -> None:
    long = numbers(step=39, epoch=299.9, epochs=300, images_per_second=123456.0)
    line = progress.text(long, "[10/15] i_dynamic_dwnet_micro_k7_g16 seed 12", columns)
    assert len(line) <= columns
    assert line.startswith("[10") and "12: epoch 299.9/300  top-1 45.7  123456 images/s" in line


def test_a_training_has_one_line_that_moves_on_a_terminal(
    small_shards: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", TRAINING, str(small_shards), str(tmp_path / "run")]
    code, printed = on_a_terminal(command, PROJECT)
    assert code == 0, printed

    assert printed.count(MOVE) >= 3
    shown = re.findall(LINE, printed)
    assert len(shown) >= 4 and max(map(len, shown)) <= 80
    assert any("top-1" in line for line in shown)

    stays = [re.sub(r".*\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in printed.split("\r\n")]
    assert "a sentence meanwhile" in stays and stays[-2:] == ["after", ""]


def test_a_training_has_plain_lines_in_a_pipe(small_shards: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAINING, str(small_shards), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert max(map(len, lines)) <= 80
    shown = [line for line in lines if re.fullmatch(LINE, line)]
    assert 1 <= len(shown) < 10  # not one a step: a log has one in ten seconds, and the last
    assert "top-1" in shown[-1] and " 0 s left" in shown[-1]


def test_a_run_is_followed_with_the_same_line(
    tmp_path: Path, progress: RunProgress, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [numbers(step=7), {"run": "v seed 1", "note": "continues at step 7 of 40"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "progress.jsonl").write_text(text + '{"cut')
    run = LocalRun("id", 0.0, tmp_path)
    run.logs()
    assert capsys.readouterr().out.splitlines() == [
        "epoch 0.2/4  loss 2.500  812 images/s  2.5 h left",
        "continues at step 7 of 40",
    ]
    (tmp_path / "decides.json").write_text(json.dumps({"task": "classify", "code": {}}))
    run.logs()
    assert "  top-1 31.2  " in capsys.readouterr().out
    assert progress.new() == lines and progress.new() == []
