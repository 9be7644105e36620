"""A head of one's own: started on loopback, held while its session lasts."""

import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import environment
from pipeline.core.errors import UserError
from pipeline.core.files import write_text
from pipeline.core.watchdog import alive
from pipeline.params import Cluster

if TYPE_CHECKING:
    import psutil

START_TRIES = 3
DASHBOARD = "dashboard"  # as Ray calls the process, of which something stays where it has no pages


def start(cluster: Cluster, temporary: Path) -> str:
    """Start a head in this process's name, on loopback, large enough for the workers; return its
    address.
    """
    # A rank more than there are cores is slow, not wrong: the same run on a smaller machine.
    cpus = max(os.cpu_count() or 1, math.ceil(cluster.max_workers * cluster.cpus_per_worker))

    for again in range(START_TRIES):
        try:
            with _dashboard_without_questions(temporary):
                context = init_ray(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=256 * 2**20,
                    _temp_dir=str(temporary / f"ray{again}"),
                )
            return str(context.address_info["gcs_address"])
        except Exception as error:  # Ray gives its head 30 s, and says no more of it than that
            _shut_down()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__

    raise UserError(
        f"the local Ray head did not start in {START_TRIES} tries: {reason}; is the machine "
        "overloaded?"
    )


@contextmanager
def _dashboard_without_questions(folder: Path) -> Iterator[None]:
    """Let Ray start its dashboard so that it asks no network which cloud it is in.

    It asks the metadata addresses of three clouds before it looks whether usage is reported at all,
    unless its home has the file of Ray's cluster launcher; so it gets a home with such a file, and
    no process but it.
    """
    from ray._private import services

    start = services.start_ray_process
    home = folder / "dashboard"
    home.mkdir(exist_ok=True)
    (home / "ray_bootstrap_config.yaml").write_text("{}")

    def start_quietly(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        if process_type == DASHBOARD:
            token = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(
                Path("~/.ray/auth_token").expanduser()
            )
            apart = {"HOME": str(home), "RAY_AUTH_TOKEN_PATH": token}
            options["env_updates"] = {**(options.get("env_updates") or {}), **apart}
        return start(command, process_type, *args, **options)

    services.start_ray_process = start_quietly
    try:
        yield
    finally:
        services.start_ray_process = start


def hold(folder: Path, cluster: Cluster) -> None:
    """Hold a head until the session ends: its marker is gone, or the process that owns it is."""
    environment.own_token()
    import ray

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    owner = int((folder / "owner").read_text())
    write_text(folder / "head", str(os.getpid()))
    write_text(folder / "address", start(cluster, folder))
    parts = _parts()

    while (folder / "owner").exists() and alive(owner) and all(map(alive, parts)):
        time.sleep(0.5)

    ray.shutdown()
    if not alive(owner):
        shutil.rmtree(folder, ignore_errors=True)


def _parts() -> "list[psutil.Process]":
    """Return the processes without which a head is none."""
    import psutil

    return [
        child for child in psutil.Process().children() if child.name() in ("gcs_server", "raylet")
    ]


def init_ray(**options: Any) -> Any:
    """Start or join Ray, which takes SIGTERM for itself: give it back to whoever had it."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    context = ray.init(log_to_driver=False, logging_level="ERROR", **options)
    signal.signal(signal.SIGTERM, handler)
    return context


def _shut_down() -> None:
    import ray

    ray.shutdown()
