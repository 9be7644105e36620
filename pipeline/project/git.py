"""What git knows of the project."""

import os
import subprocess
from pathlib import Path

SHIPPED = "PIPELINE_COMMIT"


def commit(project: Path) -> tuple[str | None, bool]:
    """Return the git commit and whether tracked files differ from it, dvc.lock aside; (None, False)
    outside git. A job is told what it was where it was shipped from.
    """
    if SHIPPED in os.environ:
        head, _, dirty = os.environ[SHIPPED].partition(" ")
        return head or None, bool(dirty)

    try:
        named = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
        )
        status = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"]
        changed = subprocess.run(status, cwd=project, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None, False
    return named.stdout.strip(), bool(changed.stdout.strip())


def tell_dvc(project: Path) -> None:
    """Tell DVC where there is no git, as in a downloaded archive: it does nothing there unless it
    was told.
    """
    if not any((folder / ".git").exists() for folder in (project, *project.parents)):
        said = ["dvc", "config", "--quiet", "--local", "core.no_scm", "true"]
        subprocess.run(said, cwd=project, check=False)  # what is wrong DVC itself says next


def day(project: Path, commit: str) -> str | None:
    """Return the day of a commit, as in 2021-06-08; None where git does not know it."""
    command = ["git", "show", "--no-patch", "--format=%cs", "--end-of-options", commit]
    try:
        output = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.stdout.strip()
