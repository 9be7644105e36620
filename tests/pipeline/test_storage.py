"""Shards and runs in a store, by the commands and under Ray: killed while a checkpoint goes up, gone
on with on another machine, published on a third.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT
from killing import INTERVAL, SETTINGS, VARIANT, outcome, published
from stores import BUCKET, SECRET, Store, serving

from pipeline.core import failpoints

STEPS = ("classify.recipe.duration={steps: 20}", "classify.recipe.evaluate_every={steps: 10}")


def train(
    project: Path, home: Path, out: str, *settings: str, fault: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Train on a machine of its own: another cache folder, another Ray, another database."""
    items = [*SETTINGS, *STEPS, "cluster.workers=2", *settings]
    flags = [part for item in items for part in ("--set", item)]
    command = [sys.executable, "-m", "pipeline.train", "classify", VARIANT]
    variables = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "XDG_CACHE_HOME": str(home),
        "MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db",
        "RAY_worker_niceness": "0",
        failpoints.VARIABLE: fault,
    }
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [*command, "--out", str(project / "out" / out), *flags],
        cwd=project,
        env={name: value for name, value in variables.items() if value},
        capture_output=True,
        text=True,
        timeout=400,
    )


def put(store: Store, folder: Path) -> None:
    """Copy the shards of a data set into the store."""
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder.parent)
            store.client.upload_file(str(path), BUCKET, f"shards/{name}")


@pytest.mark.faults
def test_three_machines_share_nothing_but_a_store(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = small_shards.parents[2]
    plain = train(project, tmp_path / "plain", "plain", f"cluster.storage={tmp_path}/runs")
    assert plain.returncode == 0, plain.stderr[-2000:]
    urls = (f"cluster.storage=s3://{BUCKET}/runs", f"cluster.shards=s3://{BUCKET}/shards")
    with serving(monkeypatch) as store:
        put(store, small_shards)
        killed = train(
            project,
            tmp_path / "a",
            "a",
            *urls,
            "cluster.max_failures=0",
            fault=f"store.unsealed seal={2 * INTERVAL:09d}",
        )
        assert killed.returncode == 1 and "training failed after 0 restarts" in killed.stderr
        assert not [name for name in store.names("runs") if f"{2 * INTERVAL:09d}-" in name]
        shutil.rmtree(tmp_path / "a")
        second = train(project, tmp_path / "b", "b", *urls)
        assert second.returncode == 0, second.stderr[-2000:]
        assert f"dwnet_micro seed 7: continues at step {INTERVAL} of 20" in second.stdout
        third = train(project, tmp_path / "c", "c", *urls)
        assert third.returncode == 0 and "continues" not in third.stdout
        assert outcome(project, "b") == outcome(project, "c") == outcome(project, "plain")
        run = published(project, "c")["seeds"][0]["run_id"]
        assert len(list((tmp_path / "c").rglob(f"{run}/finished.json"))) == 1
        assert store.names(f"runs/{run}/checkpoints") == []
        said = [part for done in (killed, second, third) for part in (done.stdout, done.stderr)]
        assert not [text for text in said if SECRET in text or "canary-id" in text]
