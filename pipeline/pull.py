"""What a colleague published with `dvc push`, without training anything: `make pull`.

Everything under `results/` that dvc.lock names comes from the DVC remote: the report, tables,
pictures and weights. Raw data and shards stay where they are; `dvc pull` brings those too.
"""

import subprocess
from pathlib import Path

from pipeline.core import command
from pipeline.core.errors import UserError
from pipeline.project.dvcfile import outs_in_lock
from pipeline.project.git import tell_dvc

HOW = "set one with `dvc remote add --default NAME FOLDER-OR-URL`"


def _main() -> None:
    command.parser(
        "Bring published results from the DVC remote, as `make pull` does.",
        "python -m pipeline.pull",
    ).parse_args()

    project = Path.cwd()
    results = [path for path in outs_in_lock(project) if path.startswith("results/")]
    if not results:
        raise UserError("dvc.lock names no results; whoever has them commits it after `make repro`")
    tell_dvc(project)
    remote = subprocess.run(["dvc", "remote", "default"], capture_output=True, text=True)
    if remote.returncode:
        raise UserError(f"this project has no DVC remote; {HOW}")

    pulled = subprocess.run(["dvc", "pull", *results], capture_output=True, text=True)
    if pulled.returncode:
        errors = [line for line in pulled.stderr.splitlines() if line.startswith("ERROR: ")]
        raise UserError(
            f"DVC cannot bring all results: {' '.join(errors[:1]).removeprefix('ERROR: ')}; has "
            "whoever made them run `dvc push`?"
        )
    print(f"{len(results)} results are here; the report: results/report/report.html")


if __name__ == "__main__":
    command.main(_main)
