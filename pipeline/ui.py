"""Open MLflow's pages on loopback: `make ui`."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.core.errors import UserError, discreet
from pipeline.project import cli
from pipeline.tracking.database import artifacts_of, connect
from pipeline.tracking.entry import store_of


def main() -> None:
    """Serve the project's tracking store until Ctrl-C."""
    parser = cli.parser("Open MLflow's pages on loopback.")
    parser.add_argument("--port", type=int, default=5000)
    call = cli.call(parser.parse_args())
    uri = store_of(call.params.tracking, call.project).uri
    if uri.startswith(("http://", "https://")):
        raise UserError(f"MLflow's pages are served at {discreet(uri)}; open them there")
    connect(uri)  # creates the database before the server's processes meet it
    artifacts = artifacts_of(uri) or (Path.cwd() / "mlartifacts").resolve().as_uri()
    where = ["--host", "127.0.0.1", "--port", str(call.args.port), "--workers", "1"]
    stores = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts}
    print(f"MLflow: http://127.0.0.1:{call.args.port} (Ctrl-C ends it)", flush=True)
    raise SystemExit(
        subprocess.call(
            [sys.executable, "-m", "mlflow", "server", *where], env={**os.environ, **stores}
        )
    )


if __name__ == "__main__":
    cli.main(main)
