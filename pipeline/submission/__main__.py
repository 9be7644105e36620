"""`python -m pipeline.submission`: what a submitted job runs, in the folder that was shipped to it.

It does the stage as anybody would, and leaves what the stage published where the dashboard finds
it.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from pipeline.core import command
from pipeline.core.errors import UserError
from pipeline.submission.inside import settle
from pipeline.submission.returned import file_of, pack
from pipeline.submission.shipment import read_note


def main() -> None:
    """Do the stage that the note in this folder names."""
    command.parser(
        "What a submitted job runs, in the folder that was shipped to it; for jobs alone.",
        "python -m pipeline.submission",
    ).parse_args()

    project = Path.cwd()
    note = read_note(project)
    if note is None:
        raise UserError(f"{project} was not shipped for a job; this command is for jobs alone")
    settle(note, project)

    verb, *words = note["command"]
    sys.argv = [verb, *words]
    importlib.import_module(f"pipeline.{verb}").main()
    pack(project / "results", note["publishes"], _logs() / file_of(_own_name()))


def _own_name() -> str:
    config: dict[str, Any] = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])
    return str(config["metadata"]["job_submission_id"])


def _logs() -> Path:
    """Return the folder of this node's logs, asked of the Ray that this process may have left."""
    import ray
    from ray._private.worker import global_worker

    from pipeline.cluster.head import init_ray

    if not ray.is_initialized():
        init_ray(address=os.environ["RAY_ADDRESS"])
    return Path(global_worker.node.get_logs_dir_path())


if __name__ == "__main__":
    command.main(main)
