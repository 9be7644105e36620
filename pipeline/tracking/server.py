"""MLflow's server on loopback, for as long as somebody looks at its pages."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core.errors import UserError, shortened
from pipeline.tracking.database import artifacts_of

HOST = "127.0.0.1"
PORT = 5000
START_S = 120.0
POLL_S = 0.2


def refuse_used(port: int) -> None:
    """Stop where something else has the port, before anything starts.

    Raises:
        UserError: it has, or this user must not take it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"port {port} of {HOST} cannot be served ({reason}); take another one, "
                f"e.g. make ui PORT={port + 1 if port < 65535 else 5000}"
            ) from None


@contextmanager
def serving(uri: str, port: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """Serve a store; yield its address once its pages answer, and what waits for its end.

    Raises:
        UserError: the server ended before, or does not answer; with its last words.
    """
    address = f"http://{HOST}:{port}"
    artifacts = artifacts_of(uri) or (Path.cwd() / "mlartifacts").resolve().as_uri()
    stores = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts}
    options = ["--host", HOST, "--port", str(port), "--workers", "1"]

    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options],
            env={**os.environ, **stores, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + START_S
            while not _answers(address):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode(errors="replace").strip().splitlines()
                    last = shortened(words[-1], 200) if words else "it says nothing"
                    raise UserError(f"MLflow's server does not answer at {address}: {last}")
                time.sleep(POLL_S)
            yield address, server.wait
        finally:
            _end(server)


def _answers(address: str) -> bool:
    """Return whether the page itself is there; other parts of the server come up before it."""
    import requests

    with suppress(requests.RequestException):
        return bool(requests.get(address, timeout=5).ok)
    return False


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and the processes that it started."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        family = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()

    server.wait()
