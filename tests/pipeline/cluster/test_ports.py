"""No port that a head listens on answers somebody without a token."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest
import requests
from heads import head_by_hand, listening
from helpers import PROJECT

START_S = 180
HELD = """
import pathlib, sys
from pipeline.core import environment
environment.prepare()
from pipeline.cluster.head import hold
from pipeline.params import Cluster
hold(pathlib.Path(sys.argv[1]), Cluster())
"""
PAGES = (
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("POST", "/api/job_agent/jobs/"),
    ("GET", "/api/v0/nodes"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/api/v0/logs"),
    ("POST", "/get_or_create_runtime_env"),
)
REFUSED = {400, 401, 403, 404, 405}
CALLS = (
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
"""What a call may end in: refused, no such service, or no gRPC at that port."""


@contextmanager
def held_head() -> Iterator[psutil.Process]:
    """Yield the head that a command without RAY_ADDRESS starts for itself.

    Its folder has a short name: Ray's sockets lie in it, and a socket's path ends at 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "owner").write_text(str(os.getpid()))
        variables = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        with open(folder / "log", "wb") as log:
            process = psutil.Popen(
                [sys.executable, "-c", HELD, str(folder)],
                env={**variables, "PYTHONPATH": str(PROJECT)},
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + START_S
            while not (folder / "address").exists() and time.monotonic() < deadline:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
            yield process
        finally:
            (folder / "owner").unlink()
            process.wait(60)


def settled(head: psutil.Process) -> set[tuple[str, int]]:
    """Return a head's ports once its agents have theirs: none has come for some seconds."""
    deadline = time.monotonic() + START_S
    before: set[tuple[str, int]] = set()
    while time.monotonic() < deadline:
        time.sleep(5)
        now = listening(head)
        if now == before and len(now) >= 6:
            return now
        before = now
    raise AssertionError(f"the head opened only {before}")


def answers(port: int) -> list[str]:
    """Return what a port answered to somebody without a token."""
    answered = []
    for method, path in PAGES:
        try:
            page = requests.request(
                method, f"http://127.0.0.1:{port}{path}", json={"entrypoint": "true"}, timeout=5
            )
        except requests.RequestException:
            continue
        if page.status_code not in REFUSED:
            answered.append(f"{port} {method} {path}: {page.status_code} {page.text[:80]}")
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        for call in CALLS:
            try:
                channel.unary_unary(call, request_serializer=bytes)(b"", timeout=5)
                answered.append(f"{port} {call}: answered")
            except grpc.RpcError as error:
                if error.code() not in QUIET:
                    answered.append(f"{port} {call}: {error.code()}")
    return answered


def check(head: psutil.Process) -> None:
    places = settled(head)
    addresses = {address.removeprefix("::ffff:") for address, _ in places}
    assert addresses == {"127.0.0.1"}, places
    assert [one for port in sorted({port for _, port in places}) for one in answers(port)] == []


@pytest.mark.faults
def test_a_head_of_ones_own_answers_nobody_without_a_token() -> None:
    with held_head() as head:
        check(head)


@pytest.mark.faults
def test_a_head_by_hand_answers_nobody_without_a_token() -> None:
    with head_by_hand() as (head, _):
        check(psutil.Process(head.pid))
