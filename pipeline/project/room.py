"""Whether a disk that DVC writes to is full: it ends in words of its own, and exit code 255."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import DiskFull

LEAST = 2**20
"""Bytes that a disk must have left for any stage's files."""


def refuse_full_disk(project: Path) -> None:
    """Say which disk is full, if one is, after `dvc repro` has failed.

    Raises:
        DiskFull: the disk of the project, or of DVC's cache, does not hold another file as large as
            the largest of the outputs.
    """
    needed = max(LEAST, *(file.stat().st_size for file in _outputs(project)))
    for folder in (project, _cache(project)):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DiskFull(
                f"no room on the disk of {folder}, which has {free:,} bytes left and may need "
                f"{needed:,} for a file; make room and give the same command again: finished "
                "stages and runs are kept"
            )


def _outputs(project: Path) -> Iterator[Path]:
    for folder in (project / "results", project / "data" / "shards"):
        yield from (path for path in folder.rglob("*") if path.is_file())


def _cache(project: Path) -> Path:
    """Return the folder of DVC's cache, or the nearest above it that is there."""
    answer = subprocess.run(["dvc", "cache", "dir"], cwd=project, capture_output=True, text=True)
    folder = Path(answer.stdout.strip() or project)
    return next(path for path in (folder, *folder.parents) if path.exists())
