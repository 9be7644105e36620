"""Defaults that must be in the environment before Ray, MLflow or DVC start: private, quiet, quick
to notice.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

SESSION = "PIPELINE_SESSION"  # the folder of the session that a process is part of

DEFAULTS = {
    # Nothing phones home.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    # A cluster without a token runs anybody's code; pages of metrics ask for none.
    "RAY_AUTH_MODE": "token",
    "RAY_enable_metrics_collection": "0",
    # Two more such pages, which Ray has no switch for: there is no port -1, and it goes on without.
    "DASHBOARD_METRIC_PORT": "-1",
    "AUTOSCALER_METRIC_PORT": "-1",
    # A report waits for the controller's poll (2 s by default); runs here report every few seconds.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A group that its place is taken from just then counts the nodes anew, instead of waiting.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
    # A head gives its agents 15 s to start, and ends itself where a busy machine takes longer.
    "RAY_agent_register_timeout_ms": "120000",
    # MLflow logs tracebacks of errors that it raises as well, and prints its server's address with
    # its password.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # What a server misses is recorded later; nobody waits for it for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # webdataset refuses to unpickle or run pipes.
    "WDS_SECURE": "1",
}


LOOPBACK = {
    # Ray's way to keep to 127.0.0.1 (on a Mac and on Windows it is the default), and Gloo's.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
}
"""For heads of our own, which no other machine joins."""


SAME_PYTHON = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""Under `uv run` Ray would give its workers a copy of the folder and let uv make an environment
there; outside of a job they start by the environment that is here.
"""


def prepare() -> None:
    """Set what the user has not set.

    Ray and MLflow read it when they are imported, so this comes first.
    """
    joins = os.environ.get("RAY_ADDRESS", "http").partition("://")[0] not in ("", "http", "https")
    uv = {} if in_shipped_job() else SAME_PYTHON
    for name, value in {**DEFAULTS, **uv, **({} if joins else LOOPBACK)}.items():
        os.environ.setdefault(name, value)


def in_shipped_job() -> bool:
    """Return whether this process is the driver of a Ray job in a folder that was shipped with it,
    and ends with it.
    """
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return bool((config.get("runtime_env") or {}).get("working_dir"))


def own_token() -> None:
    """Make Ray's token, readable by its owner alone, before Ray would make it readable by all.

    It lies where Ray looks for it; where no home can be written to, in a temporary folder that ends
    with the process, and the processes that it starts are told of it.
    """
    if (
        os.environ["RAY_AUTH_MODE"] != "token"
        or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    ):
        return

    try:
        _write_token(Path.home() / ".ray" / "auth_token")
    except (OSError, RuntimeError):  # a home that cannot be written to, or none at all
        folder = tempfile.mkdtemp(prefix="token-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(Path(folder, "auth_token"))
        _write_token(Path(folder, "auth_token"))


def _write_token(path: Path) -> None:
    """Make a token whole where there is none; it is readable by its owner alone, whatever the
    umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size == 0:
        path.unlink()

    if not path.exists():
        handle, beside = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(os.urandom(32).hex())
        # a link appears whole, and only where no other process was first
        with suppress(FileExistsError):
            os.link(beside, path)
        os.unlink(beside)

    path.chmod(0o600)
