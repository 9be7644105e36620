"""What git knows of the project."""

import subprocess
from pathlib import Path


def commit(project: Path) -> tuple[str | None, bool]:
    """Return the git commit and whether tracked files differ from it, dvc.lock aside; (None, False)
    outside git.
    """
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
        )
        status = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"]
        changed = subprocess.run(status, cwd=project, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None, False
    return head.stdout.strip(), bool(changed.stdout.strip())
