"""What is set before Ray is imported, and who reaches pages that ask for no token."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
import requests
from helpers import PROJECT

COMMANDS = sorted(path.stem for path in (PROJECT / "pipeline").glob("[a-z]*.py"))
HEAD = """
import pathlib, sys
from pipeline.core import environment
environment.prepare()
from pipeline.cluster.head import hold
from pipeline.params import Cluster
hold(pathlib.Path(sys.argv[1]), Cluster())
"""
ASKED = (
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("POST", "/api/job_agent/jobs/"),
    ("GET", "/api/v0/nodes"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/api/v0/logs"),
    ("POST", "/get_or_create_runtime_env"),
)
CALLED = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/ClusterInfo",
)
QUIET = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


def test_no_command_imports_ray_before_the_token_is_asked_for() -> None:
    """Ray reads RAY_AUTH_MODE when it is imported; `cli.main` sets it when a command begins."""
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n"
    code += "    importlib.import_module('pipeline.' + name)\n"
    code += "    assert not any(m == 'ray' or m.startswith('ray.') for m in sys.modules), name"
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["of a session", "by hand"])
def head(request: pytest.FixtureRequest) -> Iterator[psutil.Process]:
    """A head's first process; what it starts are its children.

    Its folder has a short name: Ray's sockets lie in it, and a socket's path ends at 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        yield from started(request.param, Path(folder))


def started(how: str, folder: Path) -> Iterator[psutil.Process]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    variables |= {"HOME": str(folder), "PYTHONPATH": str(PROJECT)}
    (folder / "owner").write_text(str(os.getpid()))
    command = [sys.executable, "-c", HEAD, str(folder)]
    if how == "by hand":
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text("a" * 64)
        variables |= {"RAY_AUTH_MODE": "token", "RAY_enable_metrics_collection": "0"}
        ports = ["--port=0", "--dashboard-port=0", "--ray-client-server-port=0"]
        start = ["start", "--head", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, *start, *ports, f"--temp-dir={folder / 'ray'}"]
    with open(folder / "log", "wb") as log:
        process = psutil.Popen(
            command, cwd=folder, env=variables, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        for child in [*process.children(recursive=True), process]:
            child.kill()
        process.wait()


def listening(first: psutil.Process) -> set[tuple[str, int]]:
    """Return the (address, port) that a process and its children listen on."""
    found = set()
    for process in (first, *first.children(recursive=True)):
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        found |= {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def settled(head: psutil.Process) -> set[tuple[str, int]]:
    """Wait until no port has come for some seconds, and the dashboard's agent is one of them."""
    deadline = time.monotonic() + 120
    before: set[tuple[str, int]] = set()
    while time.monotonic() < deadline:
        time.sleep(5)
        assert head.is_running() and head.status() != psutil.STATUS_ZOMBIE
        now = listening(head)
        if now == before and len(now) >= 6:
            return now
        before = now
    raise AssertionError(f"the head opened {before} alone")


def answers(port: int) -> list[str]:
    """Return what a port answered to somebody without a token."""
    found = []
    for method, path in ASKED:
        try:
            answer = requests.request(
                method, f"http://127.0.0.1:{port}{path}", json={"entrypoint": "true"}, timeout=5
            )
        except requests.RequestException:
            continue
        if answer.status_code not in (400, 401, 403, 404, 405):
            found.append(f"{port} {method} {path}: {answer.status_code} {answer.text[:80]}")
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        for call in CALLED:
            try:
                channel.unary_unary(call, request_serializer=bytes)(b"", timeout=5)
                found.append(f"{port} {call}: answered")
            except grpc.RpcError as error:
                if error.code() not in QUIET:
                    found.append(f"{port} {call}: {error.code()}")
    return found


@pytest.mark.faults
def test_no_port_of_a_head_answers_without_a_token(head: psutil.Process) -> None:
    ports = sorted({port for _, port in settled(head)})
    assert [what for port in ports for what in answers(port)] == []


def test_the_pages_of_mlflow_listen_on_loopback_alone(tmp_path: Path) -> None:
    """They ask for no token."""
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {**os.environ, "PYTHONPATH": str(PROJECT)}
    variables.pop("MLFLOW_TRACKING_URI", None)
    process = psutil.Popen(
        [sys.executable, "-m", "pipeline.ui", "--port", str(port)],
        cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while not (found := listening(process)) and time.monotonic() < deadline:
            time.sleep(1)
        assert {address for address, _ in found} == {"127.0.0.1"}, found
    finally:
        for child in [*process.children(recursive=True), process]:
            child.kill()
        process.wait()
