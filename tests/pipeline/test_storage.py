"""Shards and runs in a store, by the commands and under Ray: killed while a checkpoint goes up, gone
on with on another machine, published on a third.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT
from killing import INTERVAL, SETTINGS, VARIANT, outcome, published
from stores import BUCKET, SECRET, Store, serving

from pipeline.core import failpoints

SHORT = ("classify.recipe.duration={steps: 20}", "classify.recipe.evaluate_every={steps: 10}")
URLS = (f"cluster.storage=s3://{BUCKET}/runs", f"cluster.shards=s3://{BUCKET}/shards")
FAULT = f"{failpoints.VARIABLE}='store.unsealed seal={2 * INTERVAL:09d}'"


def put(store: Store, folder: Path) -> None:
    """Copy the shards of a data set into the store."""
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder.parent)
            store.client.upload_file(str(path), BUCKET, f"shards/{name}")


def training(out: Path, *settings: str) -> str:
    """Return a command that trains two ranks and publishes below a folder."""
    items = [*SETTINGS, *SHORT, "cluster.workers=2", "cluster.max_failures=0", *settings]
    words = [sys.executable, "-m", "pipeline.train", "classify", VARIANT, "--out", str(out)]
    return shlex.join([*words, *(part for item in items for part in ("--set", item))])


@pytest.mark.faults
def test_three_machines_share_nothing_but_a_store(
    small_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Ray for all, but what a machine keeps is taken away between: its cache folder."""
    project = small_shards.parents[2]
    out, leave = project / "out", f"rm -r {tmp_path}/cache"
    script = "; ".join(
        [
            training(out / "plain", f"cluster.storage={tmp_path}/runs"),
            f"{FAULT} {training(out / 'killed', *URLS)} 2> {tmp_path}/killed",
            leave,
            f"{training(out / 'next', *URLS)} > {tmp_path}/next",
            leave,
            f"{training(out / 'last', *URLS)} > {tmp_path}/last",
        ]
    )
    with serving(monkeypatch) as store:
        put(store, small_shards)
        monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache")
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cluster", "--", "sh", "-c", script],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "RAY_worker_niceness": "0"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        killed, gone_on, found = (
            (tmp_path / part).read_text() for part in ("killed", "next", "last")
        )
        assert "training failed after 0 restarts" in killed
        assert f"{VARIANT} seed 7: continues at step {INTERVAL} of 20" in gone_on
        assert "step" not in found, "nothing is trained where it is finished"
        assert outcome(project, "next") == outcome(project, "last") == outcome(project, "plain")
        run = published(project, "last")["seeds"][0]["run_id"]
        assert store.names(f"runs/{run}/checkpoints") == []
        said = "".join((done.stdout, done.stderr, killed, gone_on, found))
        assert SECRET not in said and "canary-id" not in said
