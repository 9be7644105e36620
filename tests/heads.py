"""A Ray head with a dashboard, as somebody else would have started it, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import PROJECT

HEAD = """
import sys
from pipeline.core import environment
environment.prepare()
environment.own_token()
import ray
context = ray.init(
    address="local", num_cpus=3, include_dashboard=True, dashboard_host="127.0.0.1",
    object_store_memory=128 * 2**20, _temp_dir=sys.argv[1], log_to_driver=False,
)
print("http://" + context.address_info["webui_url"], flush=True)
sys.stdin.read()
"""


@contextmanager
def dashboard_of_a_head(folder: Path) -> Iterator[str]:
    """Yield the address of a new head's dashboard; the head ends with the block."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(folder)],
        env={**env, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert head.stdout is not None and head.stdin is not None
    try:
        yield head.stdout.readline().strip()
    finally:
        head.stdin.close()
        head.wait(60)
