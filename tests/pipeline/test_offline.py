"""The whole small pipeline where no route leads out, with every switch for telemetry as a fresh
shell has it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT, make_project
from offline import NONE, offline

from pipeline.core import environment

STAGES = (
    "pipeline.fetch imagenet",
    "pipeline.shard imagenet",
    "pipeline.train classify dwnet_micro",
    "pipeline.compare",
)


@pytest.mark.faults
def test_the_small_pipeline_asks_nothing_but_loopback(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    unset = {
        *environment.DEFAULTS,
        *environment.LOOPBACK,
        "RAY_ADDRESS",
        "MLFLOW_TRACKING_URI",
        "CI",
    }
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in unset and "PYTEST" not in name
    }
    stages = " && ".join(f"{sys.executable} -m {stage}" for stage in STAGES)
    command = offline([sys.executable, "-m", "pipeline.cluster", "--", "sh", "-c", stages])
    variables |= {"PYTHONPATH": str(PROJECT), "RAY_worker_niceness": "0"}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == NONE
    assert (project / "results/report/report.html").exists()
