"""The Slurm script, with the one node that this machine is: its command runs in a Ray cluster that
wants a token, and its exit code is the command's.
"""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from helpers import PROJECT

SRUN = '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n'
COMMAND = """
import sys, ray, requests
ray.init(logging_level="ERROR", log_to_driver=False)
print("CPUs", ray.cluster_resources()["CPU"], flush=True)
print("without a token", requests.get("http://127.0.0.1:8265/api/jobs/").status_code, flush=True)
sys.exit(7)
"""


def job(folder: Path) -> dict[str, str]:
    """Make a project of nothing but the script, and an `srun`; return the job's variables."""
    shutil.copytree(PROJECT / "deploy", folder / "deploy")
    program(folder / "slurm" / "srun", SRUN)
    job = {"SUBMIT_DIR": str(folder), "JOB_ID": "7", "JOB_NUM_NODES": "1", "CPUS_PER_TASK": "2"}
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        **{f"SLURM_{name}": value for name, value in job.items()},
        "PATH": f"{folder / 'slurm'}:{os.environ['PATH']}",
        "HOME": str(folder),
    }


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_head_that_did_not_start_is_no_success(tmp_path: Path) -> None:
    """Ray's command says so and ends with 0; nothing of the user's has run."""
    variables = job(tmp_path)
    program(tmp_path / ".venv" / "bin" / "ray", "#!/bin/bash\nexit 0\n")
    done = subprocess.run(
        ["bash", "deploy/slurm.sh"], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "did not start" in done.stderr.splitlines()[-1]


@pytest.mark.faults
def test_the_command_runs_in_a_cluster_of_the_job(tmp_path: Path) -> None:
    """In a space of process ids of its own, since `ray symmetric-run` ends every Ray that it sees."""
    apart = ["unshare", "-Urpf", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("no namespace of process ids can be made here (unshare -Urpf)")
    variables = job(tmp_path)
    (tmp_path / ".venv").symlink_to(PROJECT / ".venv")
    done = subprocess.run(
        [*apart, "bash", "deploy/slurm.sh", "python", "-c", COMMAND],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert "CPUs 2.0" in done.stdout and "without a token 401" in done.stdout, done.stdout
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".slurm-*"))
