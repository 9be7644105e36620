"""`make ui` says where to compare, once the pages answer, on loopback alone;
docs/comparing-in-mlflow.md is followed on them.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from heads import listening
from helpers import PROJECT, make_project
from mlflow_server import free_port

from pipeline.runs.spool import Spool
from pipeline.tracking.entry import Entry, EntryFile

DOC = (PROJECT / "docs/comparing-in-mlflow.md").read_text()
KERNELS = (3, 5, 7)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with runs that MLflow has missed so far."""
    folder = make_project(tmp_path / "project")
    for kernel in KERNELS:
        file = EntryFile(folder / "runs", folder / "runs" / f"run{kernel}", "classify")
        params = {"mixer": "dwnet", "kernel_size": kernel, "group_channels": "default"}
        costs = {"dynamic": False, "seed": 0, "parameters": 7, "macs": 1000 * kernel}
        entry = Entry(
            store="project",
            experiment="classify",
            run_id=f"run{kernel}",
            name=f"k{kernel}",
            status="FINISHED",
            tags={},
            params=params | costs,
        )
        file.write(entry)
        spool = Spool(file.spool, 0, 10)
        spool.step(1, {"train/loss": 1.0, "train/lr": 0.1, "speed/images_per_second": 9.0})
        spool.write_evaluation({"step": 10, "epoch": 1.0, "top1": 10.0 + kernel, "train_loss": 1.0})
    return folder


def ui(project: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.ui", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> list[str]:
    """Return what is printed up to the last line, with which the pages are there."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if "Ctrl-C" in line:
            break
    return lines


def test_three_clicks(project: Path) -> None:
    port = free_port()
    process = ui(project, "--port", str(port))
    try:
        lines = said(process)
        server = f"http://127.0.0.1:{port}"
        assert len(lines) == 3 and lines[0].startswith(f"MLflow: {server}/#/"), lines
        assert requests.get(server, timeout=30).ok
        family = psutil.Process(process.pid).children(recursive=True)
        reached = {address for address, _ in listening(psutil.Process(process.pid))}
        assert reached == {"127.0.0.1"}  # the pages ask for no token
        follow(server, lines[1])
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and rest == ""
    assert [one for one in psutil.wait_procs(family, timeout=10)[1] if one.is_running()] == []


def follow(server: str, line: str) -> None:
    """Do what the page says, as far as the server's part of it goes."""
    click = re.search(r"classify: .*/#/experiments/(\d+)/runs\?(\S+)", line)
    assert click is not None
    identifier, query = click.groups()
    assert query == "workflowType=machine_learning&viewStateShareKey=compare"
    asked = ask(server, "experiments/get", experiment_id=identifier)["experiment"]
    tags = {tag["key"]: tag["value"] for tag in asked["tags"]}
    view = json.loads(tags["mlflow.sharedViewState.compare"])
    assert view["orderByKey"] == "metrics.`eval/top1`" and not view["orderByAsc"]
    assert "Compare" in tags["mlflow.note.content"]
    columns = dict(re.findall(r"(?:params|metrics)\.`(.+?)`()", " ".join(view["selectedColumns"])))
    runs = post(server, "runs/search", experiment_ids=[identifier], order_by=[view["orderByKey"]])
    named = set(re.findall(r"`([\w/]+)`", DOC.split("## What a run has")[0]))
    for run in runs["runs"]:
        data = run["data"]
        there = {pair["key"] for kind in ("params", "metrics") for pair in data[kind]}
        assert columns.keys() <= there and columns.keys() <= named
        assert {"train/loss", "train/lr", "train/interval_loss"} <= there
        assert "epoch" not in {name.split("/")[-1] for name in there}
    kernels = [param(run, "kernel_size") for run in runs["runs"]]
    assert sorted(kernels) == sorted(map(str, KERNELS))
    best = ask(
        server,
        "metrics/get-history",
        run_id=runs["runs"][0]["info"]["run_id"],
        metric_key="eval/top1",
    )
    assert [point["step"] for point in best["metrics"]] == [10]


def param(run: dict[str, Any], name: str) -> str:
    return next(pair["value"] for pair in run["data"]["params"] if pair["key"] == name)


def ask(server: str, what: str, **query: str) -> Any:
    answer = requests.get(f"{server}/api/2.0/mlflow/{what}", params=query, timeout=60)
    return answer.json()


def post(server: str, what: str, **body: Any) -> Any:
    return requests.post(f"{server}/api/2.0/mlflow/{what}", json=body, timeout=60).json()


def test_a_used_port_is_a_sentence(project: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        begun = time.monotonic()
        process = ui(project, "--port", str(port))
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and time.monotonic() - begun < 30
    assert printed.startswith(f"error: port {port} of 127.0.0.1 cannot be served (")
    assert printed.count("\n") == 1 and f"make ui PORT={port + 1}" in printed
    assert not (project / "mlflow.db").exists()
