"""A Ray head with a dashboard, as somebody starts one by hand, beside any other on this machine."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import requests

START_S = 180
ATTEMPTS = 3


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def dashboard_of_a_head() -> Iterator[str]:
    """Yield the address of a new head's dashboard; the head ends with the block."""
    with head_by_hand() as (_, address):
        yield address


@contextmanager
def head_by_hand() -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Yield a new head and the address of its dashboard; the head ends with the block.

    Its folder has a short name: Ray's sockets lie in it, and a socket's path ends at 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        for attempt in range(ATTEMPTS):
            head, address = _start(Path(folder, str(attempt)))
            try:
                if _answers(address, head):
                    yield head, address
                    return
            finally:
                _end(head)
        raise AssertionError(Path(folder, str(attempt), "head.txt").read_text())


def _start(folder: Path) -> tuple["subprocess.Popen[bytes]", str]:
    folder.mkdir()
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
    with open(folder / "head.txt", "wb") as log:
        head = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return head, f"http://127.0.0.1:{dashboard}"


def _end(head: "subprocess.Popen[bytes]") -> None:
    """Kill a head and all that it started: asked to end, it waits for its parts for half a minute."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(head.pid).children(recursive=True)
        head.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family)
    head.wait()


def _answers(address: str, head: "subprocess.Popen[bytes]") -> bool:
    """Wait until the dashboard refuses those without a token; False where the head gives up, as
    it does after a minute on a busy machine.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and head.poll() is None:
        try:
            assert requests.get(f"{address}/api/jobs/", timeout=5).status_code in (401, 403)
        except requests.exceptions.RequestException:
            time.sleep(0.5)
        else:
            return True
    return False


def listening(first: psutil.Process) -> set[tuple[str, int]]:
    """Return the addresses and ports that a process and its children listen on."""
    addresses = set()
    for process in (first, *first.children(recursive=True)):
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        addresses |= {tuple(one.laddr) for one in connections if one.status == psutil.CONN_LISTEN}
    return addresses
