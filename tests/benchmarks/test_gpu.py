"""The benchmarks for a GPU: their code is walked on a CPU, and without a GPU they say so."""

import json
import subprocess
import sys

import pytest
import torch
from helpers import PROJECT


def run(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "name", ["gpu_operators", pytest.param("gpu_step", marks=pytest.mark.faults)]
)
def test_each_figure_is_a_line(name: str) -> None:
    done = run(name, "--device", "cpu")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) >= 4, done.stderr
    for line in lines:
        assert {"figure", "peer", "goal", "command"} <= line.keys() and line["ratio"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_said() -> None:
    done = run("gpu_operators")
    assert done.returncode == 1 and done.stderr.strip() == "there is no GPU here"
