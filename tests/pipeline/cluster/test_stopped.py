"""A rank that is stopped: named, and replaced within a minute, as if nothing had been."""

import json
import os
import re
from pathlib import Path

import pytest
from killing import INTERVAL, outcome, run_folder, starts, train

from pipeline.core import failpoints

LIMIT_S = 60 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
"""How long a run may take no step; a busy machine gets more."""


@pytest.fixture(scope="module")
def project(small_shards: Path) -> Path:
    return small_shards.parents[2]


@pytest.mark.faults  # two trainings, one of which stands still for a while
def test_a_stopped_rank_is_named_and_replaced_within_a_minute(
    project: Path,
    ray_cluster: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rank 0 waits in a collective meanwhile, and is not the one that is named."""
    train(project, "still", "cluster.workers=2")
    marker = tmp_path / "met"
    monkeypatch.setenv(failpoints.VARIABLE, f"step rank=1 step=30 do=stop once={marker}")
    train(project, "stopped", "cluster.workers=2")
    monkeypatch.delenv(failpoints.VARIABLE)
    named = re.findall(
        r"rank (\d) on node \S+ computed and answered nothing", capsys.readouterr().out
    )
    assert named == ["1"]
    assert starts(project, "stopped") == [0, 30 - 30 % INTERVAL]
    assert outcome(project, "stopped") == outcome(project, "still")
    assert lost_seconds(run_folder(project, "stopped"), marker) <= LIMIT_S


def lost_seconds(folder: Path, marker: Path) -> float:
    """Return how long after a fault the run had taken a step again."""
    lines = map(json.loads, (folder / "progress.jsonl").read_text().splitlines())
    met = marker.stat().st_mtime
    stepped = next(line["time"] for line in lines if "step" in line and line["time"] > met + 5)
    return float(stepped) - met
