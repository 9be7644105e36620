"""Ctrl-C and SIGTERM to a whole process group, as terminals, `timeout` and schedulers send them,
while Ray is at work.

The command ends with 128 and the signal's number, says nothing of what else the signal ended,
leaves no process behind and no MLflow run that says RUNNING.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from helpers import PROJECT, make_project
from killing import wait_for

from pipeline.core import failpoints

pytestmark = pytest.mark.heads

TRAINING = "step rank=0 step=3"
SMALL_SEARCH = {
    "base": {"size": "micro", "kernel_size": 3},
    "recipe": {"duration": {"epochs": 1}, "evaluate_every": {"steps": 2}},
}
POINTS = {
    "fetch imagenet": "stage.begun",
    "shard imagenet": "shards.joined",
    "train classify dwnet_micro": TRAINING,
    "tune": TRAINING,
    "factorial": TRAINING,
    "profile dwnet_micro": "file.written name=profile.json",
    "compare": "stage.begun",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small_shards: Path) -> Path:
    """A project with shards, in which commands start Ray heads of their own."""
    folder = make_project(tmp_path_factory.mktemp("signals"))
    params = yaml.safe_load((small_shards.parents[2] / "params.yaml").read_text())
    params |= {
        "tune": {**SMALL_SEARCH, "space": {"mixer": ["dwnet", "dynamic_dwnet"]}},
        "factorial": {**SMALL_SEARCH, "group_channels": [1], "seeds": [0], "controls": False},
        "cluster": {"workers": 1},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(small_shards.parents[1], folder / "data")
    shutil.copy(small_shards.parents[2] / "real.json", folder)
    return folder


def end(
    project: Path, command: str, point: str, sent: signal.Signals, marker: Path
) -> tuple[int, str]:
    """Send a signal to the group of a command that is held at a point; return its exit code and
    what it printed.
    """
    verb, *words = command.split()
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        failpoints.VARIABLE: f"{point} do=wait once={marker}",
    }
    environment.pop("RAY_ADDRESS", None)
    log = marker.with_suffix(".log")
    with open(log, "wb") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", f"pipeline.{verb}", *words],
            cwd=project,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        held = wait_for(marker, started)
    except AssertionError as error:
        raise AssertionError(log.read_text()) from error
    family = [psutil.Process(held), *psutil.Process(started.pid).children(recursive=True)]
    os.killpg(started.pid, sent)
    code = started.wait(90)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    return code, log.read_text()


def unfinished(project: Path) -> list[str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    return [
        run.info.run_name for run in client.search_runs(places, "attributes.status = 'RUNNING'")
    ]


def check(project: Path, command: str, sent: signal.Signals, marker: Path) -> None:
    code, printed = end(project, command, POINTS[command], sent, marker)
    assert code == 128 + sent, printed
    assert "Traceback" not in printed and "error" not in printed.lower(), printed
    assert "was killed" not in printed, printed  # whoever closes the MLflow run lives through it
    if POINTS[command] == TRAINING:
        assert unfinished(project) == []


SLOW_IMPORT = """
import pathlib, sys, time
class Slow:
    def find_spec(self, name, *_):
        if name == "pipeline.params":
            pathlib.Path("met").write_text("1")
            time.sleep(60)
sys.meta_path.insert(0, Slow())
"""


def test_ctrl_c_among_the_imports_of_a_command_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    paths = os.pathsep.join([str(tmp_path), str(PROJECT)])
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.plan"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(tmp_path / "met", process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (-signal.SIGINT, b"")


def test_a_training_is_closed_when_its_group_is_asked_to_end(project: Path, tmp_path: Path) -> None:
    check(project, "train classify dwnet_micro", signal.SIGTERM, tmp_path / "met")


@pytest.mark.faults
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("command", POINTS)
def test_every_command_is_closed_when_its_group_is_asked_to_end(
    project: Path, tmp_path: Path, command: str, sent: signal.Signals
) -> None:
    check(project, command, sent, tmp_path / "met")
