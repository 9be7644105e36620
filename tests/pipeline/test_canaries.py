"""Secrets that a user's environment holds, planted as canaries: none is found in what a run prints
or leaves behind.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from helpers import PROJECT, make_project

STAGES = (
    "pipeline.fetch imagenet",
    "pipeline.shard imagenet",
    "pipeline.train classify dwnet_micro",
    "pipeline.compare",
)
CANARIES = {
    "AWS_ACCESS_KEY_ID": "CANARYKEYID",
    "AWS_SECRET_ACCESS_KEY": "CANARYSECRETKEY",
    "AWS_SESSION_TOKEN": "CANARYSESSION",
    "HF_TOKEN": "CANARYHUB",
    "HTTPS_PROXY": "http://CANARYPROXYUSER:CANARYPROXYPW@127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "RAY_AUTH_TOKEN": "CANARYTOKEN" * 4,
}
HOLDS = """
import os, pathlib, sys
for folder in sys.argv[1:]:
    for path in pathlib.Path(os.path.expandvars(folder)).rglob("*"):
        if path.is_file() and not path.is_symlink() and b"CANARY" in path.read_bytes():
            print("CANARY IN", path)
print("looked")
"""
"""Looks for canaries in folders; Ray's own is gone when its session ends, so it is asked before
that.
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on loopback; it takes any user and password. Yields host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    stores = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--default-artifact-root",
        f"{tmp_path}/artifacts",
    ]
    host, port = place.split(":")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        host,
        "--port",
        port,
        "--workers",
        "1",
        *stores,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 180
        while not _answers(place) and time.monotonic() < deadline:
            time.sleep(0.5)
        yield place
    finally:
        process.terminate()
        process.wait()


def _answers(place: str) -> bool:
    try:
        return requests.get(f"http://{place}/health", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.faults
@pytest.mark.parametrize(
    "way", ["an address with a password", "variables", "a server that is gone"]
)
def test_no_secret_is_left_anywhere(tmp_path: Path, server: str, way: str) -> None:
    project = make_project(tmp_path / "project")
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "RAY_AUTH_MODE")
    }
    variables |= CANARIES | {"PYTHONPATH": str(PROJECT), "RAY_worker_niceness": "0"}
    if way == "variables":
        variables |= {
            "MLFLOW_TRACKING_USERNAME": "CANARYUSER",
            "MLFLOW_TRACKING_PASSWORD": "CANARYPW",
        }
        variables["MLFLOW_TRACKING_URI"] = f"http://{server}"
    else:
        place = server if way == "an address with a password" else "127.0.0.1:9"
        variables["MLFLOW_TRACKING_URI"] = f"http://CANARYUSER:CANARYPW@{place}"
    look = f"{sys.executable} -c '{HOLDS}' '$PIPELINE_SESSION' '{project}' '{tmp_path}'"
    stages = " && ".join(f"{sys.executable} -m {stage}" for stage in STAGES)
    command = [
        sys.executable,
        "-m",
        "pipeline.cluster",
        "--",
        "sh",
        "-c",
        f"{stages}; code=$?; {look}; exit $code",
    ]
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True)
    assert (done.returncode == 0) == (way != "a server that is gone"), (
        done.stdout[-2000:] + done.stderr[-2000:]
    )
    assert "looked" in done.stdout and "Traceback" not in done.stderr
    assert "CANARY" not in done.stdout + done.stderr, (done.stdout + done.stderr).replace(
        "CANARY", "(found)"
    )
