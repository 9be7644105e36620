"""Killing at named points: what the tests of a run that nothing bends share."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from helpers import PROJECT, run_stage

from pipeline.core import failpoints
from pipeline.core.files import sha256_file

VARIANT = "dwnet_micro"
STEPS, EVALUATE, INTERVAL = 60, 10, 4
SETTINGS = (
    "classify.seeds=[7]",
    "classify.recipe.micro_batch=4",
    "classify.recipe.micro_batches=6",  # 1, 2, 3 and 6 ranks divide them
    f"classify.recipe.duration={{steps: {STEPS}}}",
    f"classify.recipe.evaluate_every={{steps: {EVALUATE}}}",
    f"classify.recipe.checkpoint_every={{steps: {INTERVAL}}}",
)


def options(project: Path, out: str, *settings: str) -> list[str]:
    """Return the options of a training in a store and a root of its own."""
    items = [*SETTINGS, f"cluster.storage={project}/runs-{out}", *settings]
    flags = [part for item in items for part in ("--set", item)]
    return ["--params", "params.yaml", "--out", str(project / "out" / out), *flags]


def train(project: Path, out: str, *settings: str, adopt: str | None = None) -> dict[str, Any]:
    """Train the variant in this process, on the session's cluster; return the published metrics."""
    extra = ["--adopt", adopt] if adopt else []
    run_stage(
        project, "pipeline.train", "classify", VARIANT, *options(project, out, *settings), *extra
    )
    return published(project, out)


def train_apart(
    project: Path, out: str, address: str, fault: str, *settings: str
) -> "subprocess.Popen[bytes]":
    """Start a training in a process of its own, with a fault in it."""
    environment = {
        **os.environ,
        "RAY_ADDRESS": address,
        "PYTHONPATH": str(PROJECT),
        failpoints.VARIABLE: fault,
    }
    command = [
        sys.executable,
        "-m",
        "pipeline.train",
        "classify",
        VARIANT,
        *options(project, out, *settings),
    ]
    with open(project / f"{out}.log", "wb") as log:
        return subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)


def wait_for(marker: Path, process: "subprocess.Popen[Any]", limit_s: float = 300) -> int:
    """Wait until a fault was met; return the id of the process that met it."""
    deadline = time.monotonic() + limit_s
    while not marker.exists() or not marker.read_text():
        assert process.poll() is None, (
            f"the process ended with {process.returncode} before {marker.name} was met"
        )
        assert time.monotonic() < deadline, f"{marker.name} was not met"
        time.sleep(0.05)
    return int(marker.read_text())


def gone(pid: int, limit_s: float = 10) -> bool:
    """Wait until a process is gone; say whether it went."""
    deadline = time.monotonic() + limit_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def published(project: Path, out: str) -> dict[str, Any]:
    """Return the metrics that a training published."""
    metrics: dict[str, Any] = json.loads((results(project, out) / "metrics.json").read_text())
    return metrics


def results(project: Path, out: str) -> Path:
    return project / "out" / out / "results/classify" / VARIANT


def outcome(project: Path, out: str) -> tuple[str, list[list[str]]]:
    """Return what must not depend on kills: the weights' digest, and the curve but for its
    speeds.
    """
    rows = [
        line.split(",") for line in (results(project, out) / "history.csv").read_text().splitlines()
    ]
    speed = rows[0].index("images_per_second")
    return sha256_file(results(project, out) / "model.safetensors"), [
        row[:speed] + row[speed + 1 :] for row in rows
    ]


def run_folder(project: Path, out: str) -> Path:
    """Return the scratch folder of the run that a training made."""
    return project / f"runs-{out}" / published(project, out)["seeds"][0]["run_id"]


def starts(project: Path, out: str) -> list[int]:
    """Return the steps that the run was started or continued at."""
    lines = (run_folder(project, out) / "progress.jsonl").read_text().splitlines()
    notes = [json.loads(line).get("note", "") for line in lines]
    return [
        int(note.split()[3]) for note in notes if note.startswith(("starts at", "continues at"))
    ]


def reserved() -> list[str]:
    """Return the placement groups that Ray still keeps for somebody."""
    from ray.util import placement_group_table

    return [name for name, group in placement_group_table().items() if group["state"] != "REMOVED"]


def spoil_rays_snapshots(project: Path, out: str) -> None:
    """Garble what Ray keeps about a run; it must not matter, nor that it is there at all."""
    for folder in (project / f"runs-{out}" / "ray").glob("*"):
        if folder.is_dir():
            (folder / "checkpoint_manager_snapshot.json").write_text('{"ray_version": "2.')


def recorded_once(project: Path, out: str, steps: int = STEPS, every: int = EVALUATE) -> None:
    """Check the run in MLflow: finished, one MLflow run, every metric once a step, none left
    running.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    seed = published(project, out)["seeds"][0]
    run = client.get_run(seed["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    evaluated, taken = range(every, steps + 1, every), range(1, steps + 1)
    expected = {"eval/top1": evaluated, "train/interval_loss": evaluated, "train/loss": taken}
    for name, numbers in expected.items():
        there = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert sorted(there) == list(numbers), (name, there)
    found = client.search_runs([run.info.experiment_id], f"tags.run_id = '{seed['run_id']}'")
    assert len(found) == 1
    assert client.search_runs([run.info.experiment_id], "attributes.status = 'RUNNING'") == []


def random_points(count: int, world: int, seed: int) -> list[dict[str, int | str]]:
    """Return points of a run at which to kill a rank, in the order in which the run comes to
    them.
    """
    draw = random.Random(seed)
    points: list[dict[str, int | str]] = []
    for step in sorted(draw.sample(range(2, STEPS), count)):
        saving = step - step % INTERVAL
        kinds: list[dict[str, int | str]] = [
            {"point": "step", "step": step, "rank": draw.randrange(world)}
        ] * 2
        if saving and all(point["step"] != saving for point in points):
            names = ("checkpoint.begun", "checkpoint.unsealed", "checkpoint.sealed")
            kinds += [{"point": draw.choice(names), "step": saving}] * 2
        points.append(draw.choice(kinds))
    return sorted(points, key=lambda point: int(point["step"]))


def as_fault(points: list[dict[str, int | str]], markers: Path) -> str:
    """Return PIPELINE_FAULT for these points, each to be met once."""
    markers.mkdir(parents=True)
    words = [
        " ".join(
            [
                str(point["point"]),
                *(f"{key}={value}" for key, value in point.items() if key != "point"),
            ]
        )
        for point in points
    ]
    return ";".join(f"{word} once={markers / str(i)}" for i, word in enumerate(words))
