"""A training of a command whose shards and runs lie in a store, on Ray: as one in folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT
from killing import VARIANT, options, outcome
from stores import BUCKET, SECRET, Store, machine, serving

from pipeline.core import failpoints


def command(project: Path, out: str, fault: str, *settings: str) -> str:
    """Train the variant under a Ray head of its own; return what was printed."""
    words = ["classify", VARIANT, *options(project, out, "cluster.workers=2", *settings)]
    variables = {**os.environ, "PYTHONPATH": str(PROJECT), failpoints.VARIABLE: fault}
    variables.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train", *words],
        cwd=project,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def bring_up(store: Store, shards: Path, prefix: str) -> None:
    for path in sorted(shards.rglob("*")):
        if path.is_file():
            store.write(f"{prefix}/{path.relative_to(shards)}", path.read_bytes())


@pytest.mark.faults  # two trainings, each with a head of its own
def test_a_rank_killed_on_a_store_changes_nothing(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small_shards.parents[2]
    command(project, "kept", "")
    machine(monkeypatch, tmp_path / "home")
    with serving(monkeypatch) as store:
        bring_up(store, small_shards.parent, "shards")
        said = command(
            project,
            "stored",
            f"step rank=1 step=30 do=kill once={tmp_path / 'met'}",
            f"cluster.storage=s3://{BUCKET}/runs",
            f"cluster.shards=s3://{BUCKET}/shards",
        )
        assert (tmp_path / "met").exists()
        names = store.names("runs/")
    assert outcome(project, "stored") == outcome(project, "kept")
    assert [name for name in names if name.endswith("finished.json")] != []
    assert not any("/checkpoints/" in name for name in names)
    assert SECRET not in said
