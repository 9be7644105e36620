"""Defaults that must be in the environment before Ray, MLflow or DVC start: private, quiet, quick to notice."""

import os
from pathlib import Path

SESSION = "PIPELINE_SESSION"  # the folder of the session that a process is part of

DEFAULTS = {
    # Nothing phones home.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    # A cluster without a token runs anybody's code.
    "RAY_AUTH_MODE": "token",
    # A report waits for the controller's poll (2 s by default); runs here report every few seconds.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # MLflow logs tracebacks of errors that it raises as well, and prints its server's address with its password.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # What a server misses is recorded later; nobody waits for it for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # webdataset refuses to unpickle or run pipes.
    "WDS_SECURE": "1",
}


def prepare() -> None:
    """Set what the user has not set. Ray and MLflow read it when they are imported, so this comes first."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def own_token() -> None:
    """Make Ray's token, readable by its owner alone, before Ray would make it readable by all."""
    if os.environ["RAY_AUTH_MODE"] != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with os.fdopen(handle, "w") as file:
        file.write(os.urandom(32).hex())
