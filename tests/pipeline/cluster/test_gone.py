"""A cluster that is gone while a run trains: one sentence, and none of Ray's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from helpers import PROJECT
from killing import VARIANT, options, wait_for

from pipeline.core import failpoints


def test_a_dead_head_is_one_sentence(small_shards: Path, tmp_path: Path) -> None:
    project, marker, log = small_shards.parents[2], tmp_path / "met", tmp_path / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        failpoints.VARIABLE: f"step step=3 do=wait once={marker}",
    }
    environment.pop("RAY_ADDRESS", None)
    settings = options(project, "gone", "cluster.workers=1")
    command = [sys.executable, "-m", "pipeline.train", "classify", VARIANT, *settings]
    with open(log, "wb") as file:
        driver = subprocess.Popen(
            command, cwd=project, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for(marker, driver)
        family = psutil.Process(driver.pid).children(recursive=True)
        next(process for process in family if process.name() == "gcs_server").kill()
        began = time.monotonic()
        assert driver.wait(90) == 2, log.read_text()
        assert time.monotonic() - began < 60
    finally:
        driver.kill()
    said = log.read_text()
    assert "run the command again" in said.splitlines()[-1], said
    assert not {"Traceback", "GCS", "gcs", "ray.exceptions"} & set(said.replace(":", " ").split())
    _, alive = psutil.wait_procs(family, timeout=20)
    assert [process.name() for process in alive] == []
