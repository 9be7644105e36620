"""What is set before Ray is imported, and who reaches pages that ask for no token."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from heads import listening
from helpers import PROJECT

COMMANDS = sorted(path.stem for path in (PROJECT / "pipeline").glob("[a-z]*.py"))


def test_no_command_imports_ray_before_the_token_is_asked_for() -> None:
    """Ray reads RAY_AUTH_MODE when it is imported; `cli.main` sets it when a command begins."""
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n"
    code += "    importlib.import_module('pipeline.' + name)\n"
    code += "    assert not any(m == 'ray' or m.startswith('ray.') for m in sys.modules), name"
    done = subprocess.run(
        [sys.executable, "-c", code, *COMMANDS], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


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
