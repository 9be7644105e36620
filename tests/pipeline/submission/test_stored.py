"""Ray's own `ray job submit` of a stage, with shards and runs in a store and a tracking server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from heads import dashboard_of_a_head
from helpers import PROJECT, SMALL
from mlflow_server import Server
from stores import BUCKET, SECRET, machine, serving

VARIANT = "dwnet_micro"


@pytest.mark.faults  # a head, a store and a server, for one training
def test_a_plain_job_reads_and_writes_a_store(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    for name in ("pipeline", "models"):  # what is shipped is what lies in it
        shutil.copytree(PROJECT / name, project / name)
    (project / "params.yaml").write_text(SMALL)
    machine(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(tmp_path)
    server.start()
    try:
        with serving(monkeypatch) as store, dashboard_of_a_head() as head:
            for path in small_shards.rglob("*"):
                if path.is_file():
                    relative = path.relative_to(small_shards.parent)
                    store.write(f"shards/{relative}", path.read_bytes())
            said = submit(project, head, server.uri)
            result = json.loads(store.read(f"runs/results/classify/{VARIANT}/metrics.json"))
    finally:
        server.stop()
    assert "succeeded" in said and SECRET not in said
    assert result["data"]["train_samples"] == 160 and result["seeds"][0]["mlflow_run_id"]
    assert not (project / "results").exists()


def submit(project: Path, head: str, tracking: str) -> str:
    """Submit the stage as docs/cluster.md says, and return what was printed."""
    settings = (
        f"cluster.shards=s3://{BUCKET}/shards",
        f"cluster.storage=s3://{BUCKET}/runs",
        f"tracking.uri={tracking}",
        "cluster.workers=1",
    )
    stage = ["python", "-m", "pipeline.train", "classify", VARIANT]
    ray = str(Path(sys.executable).with_name("ray"))
    done = subprocess.run(
        [ray, "job", "submit", "--working-dir", ".", "--", *stage]
        + [word for setting in settings for word in ("--set", setting)],
        cwd=project,
        env={**os.environ, "RAY_ADDRESS": head},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
