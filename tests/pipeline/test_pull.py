"""`make pull` in a downloaded archive, which has no `.git`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from helpers import PROJECT

LOCK = "schema: '2.0'\nstages: {a: {cmd: x, outs: [{path: results/a, md5: 0}]}}\n"


def test_results_are_pulled_into_a_folder_without_git(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp"))
    (tmp_path / ".dvc" / "config.local").unlink(missing_ok=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "remote").mkdir()
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        given = {**environment, "PYTHONPATH": str(PROJECT)}
        return subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True)

    pull = (sys.executable, "-m", "pipeline.pull")
    assert "has no DVC remote" in run(*pull).stderr
    assert run("dvc", "remote", "add", "--default", "shared", "remote").returncode == 0
    done = run(*pull)
    assert "cannot bring all results: " in done.stderr and "git" not in done.stderr
    assert "results: ;" not in done.stderr, "DVC's reason is left out"
