"""A Ray head with a dashboard, as somebody starts one by hand, beside any other on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

START_S = 180


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def dashboard_of_a_head(folder: Path) -> Iterator[str]:
    """Yield the address of a new head's dashboard; the head ends with the block."""
    gcs, dashboard, client = free_ports(3)
    options = {
        "port": gcs,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": 0,  # the usual one may be another head's
        "ray-client-server-port": client,
        "node-ip-address": "127.0.0.1",
        "num-cpus": 3,
        "object-store-memory": 128 * 2**20,
        "temp-dir": folder,
    }
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    with open(folder / "head.txt", "w") as log:
        head = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _when_it_answers(f"http://127.0.0.1:{dashboard}", folder / "head.txt")
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)


def _when_it_answers(address: str, log: Path) -> str:
    """Return the address once the dashboard refuses those without a token."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            assert requests.get(f"{address}/api/jobs/", timeout=5).status_code in (401, 403)
        except requests.exceptions.RequestException:
            time.sleep(0.5)
        else:
            return address
    raise AssertionError(log.read_text())
