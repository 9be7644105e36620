"""MLflow is away while a run trains: nothing waits for it, and nothing is lost or doubled."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers import PROJECT
from killing import wait_for
from mlflow_server import Server, free_port

from pipeline.core import failpoints

pytestmark = pytest.mark.heads

TRAIN = """
import argparse, sys, time
from pathlib import Path
import torch
from pipeline.core import environment; environment.prepare()
from pipeline.loading.micro_batches import Ranks
from pipeline.project import cli
from pipeline.runs import spool
from pipeline.runs.make import make_runs
from pipeline.tracking.trainings import recorded
from pipeline.training.loop import evaluations

def main():
    held_up = []
    write = spool.Spool.write_evaluation
    def timed(self, row):
        begun = time.monotonic()
        write(self, row)
        held_up.append(time.monotonic() - begun)
    spool.Spool.write_evaluation = timed
    settings = ["classify.recipe.duration={epochs: 2}", "classify.recipe.evaluate_every={steps: 5}"]
    settings += [f"tracking.required={sys.argv[1]}"]
    args = argparse.Namespace(params="params.yaml", set=settings, out="out")
    call = cli.call(args)
    shards = call.project / "data/shards/imagenet"
    (run,) = make_runs(call, "classify", call.params.classify, "dwnet_micro", (0,), shards)
    with recorded(call, [run]) as ready:
        ready()
        print("training", flush=True)
        for _ in evaluations(run, Ranks(), torch.device("cpu"), lambda model: model):
            pass
    print("longest", max(held_up, default=0), flush=True)

if __name__ == "__main__":
    cli.main(main)
"""
STEPS = 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def project(tmp_path: Path, small_shards: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    source = small_shards.parents[2]
    (folder / "data").symlink_to(source / "data")
    for name in ("params.yaml", "pipeline", "models", "real.json"):
        (folder / name).symlink_to((source / name).resolve())
    (folder / "train.py").write_text(TRAIN)
    return folder


def start(
    project: Path, uri: str, fault: str = "", required: bool = True
) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "MLFLOW_TRACKING_URI": uri,
        failpoints.VARIABLE: fault,
    }
    return subprocess.Popen(
        [sys.executable, "train.py", str(required).lower()],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: "subprocess.Popen[str]") -> str:
    """Return what a training that ended well printed; no evaluation was held up."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert float(printed.split("longest ")[1].split()[0]) < 1.0, printed
    return printed


def points(project: Path) -> set[tuple[str, int]]:
    """Return the numbers that the run wrote beside itself, by name and step."""
    (path,) = (project / "runs").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(name, line["step"]) for line in lines for name in line if name not in ("step", "time")}


def check(project: Path, database: str, lost_ones: bool = True) -> Any:
    """Check that MLflow has each number once, and all of them; return its run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=database)
    (run,) = client.search_runs([client.get_experiment_by_name("classify").experiment_id])
    there = Counter(
        (name, point.step)
        for name in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, name)
    )
    written = points(project)
    assert written - there.keys() == set(), "lost"
    assert [point for point, count in there.items() if count > 1] == [], "doubled"
    assert {step for name, step in there if name == "train/loss"} == set(range(1, STEPS + 1))
    assert run.info.status == "FINISHED"
    return run


def arrived(server: Server) -> bool:
    """Return whether some of a run's numbers are in the server's database."""
    with closing(sqlite3.connect(server.database.removeprefix("sqlite:///"))) as base:
        (count,) = base.execute("SELECT count(*) FROM metrics").fetchone()
    return bool(count)


def away(project: Path, server: Server, tmp_path: Path, seconds: float) -> None:
    """Let the server go in mid-training, the trainer be killed meanwhile and another one end; then
    let the server come back.
    """
    server.start()
    marker = tmp_path / "met"
    killed = start(project, server.uri, f"step step=13 do=wait once={marker}")
    wait_for(marker, killed)
    deadline = time.monotonic() + 120
    while not arrived(server):
        assert time.monotonic() < deadline, "nothing arrives"
        time.sleep(0.1)
    server.stop()
    gone = time.monotonic()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    printed = end(start(project, server.uri, required=False))
    assert printed.count("does not answer") == 2, printed  # at the start, and at the end
    time.sleep(max(0.0, gone + seconds - time.monotonic()))
    server.start()
    end(start(project, server.uri))
    check(project, server.database)


def test_nothing_is_lost_or_doubled_while_the_server_is_away_and_the_trainer_is_killed(
    project: Path, server: Server, tmp_path: Path
) -> None:
    away(project, server, tmp_path, 0)


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [60, 600])
def test_a_server_may_be_away_for_long(
    project: Path, server: Server, tmp_path: Path, seconds: float
) -> None:
    away(project, server, tmp_path, seconds)


@pytest.mark.parametrize(
    "point", ["shipper.opened", pytest.param("shipper.unnoted", marks=pytest.mark.faults)]
)
def test_a_killed_shipper_stops_nobody_and_doubles_nothing(
    project: Path, tmp_path: Path, point: str
) -> None:
    """What it brought and could not note is brought again, and stands there once."""
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    printed = end(start(project, database, f"{point} once={tmp_path / 'met'}"))
    assert "the process that writes to MLflow was killed" in printed
    end(start(project, database))
    run = check(project, database)
    (record,) = (project / "runs").glob("*/finished.json")
    seconds = (
        run.info.end_time - run.info.start_time
    ) / 1000  # of the training, not of the commands
    assert abs(seconds - json.loads(record.read_text())["wall_time_s"]) < 1


def test_a_server_that_is_not_there_is_named_before_anything_starts(project: Path) -> None:
    begun = time.monotonic()
    process = start(project, f"http://127.0.0.1:{free_port()}")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "training" not in printed.splitlines()
    assert printed.startswith("error: MLflow at http://127.0.0.1") and printed.count("\n") == 1
    assert "tracking.required: false goes on without it" in printed
    assert time.monotonic() - begun < 30  # of which most are imports
