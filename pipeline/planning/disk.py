"""What a stage leaves on disk, and what it needs beside that while it runs."""

import shutil
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path

from pipeline.params import BaseRecipe, Dataset
from pipeline.planning.data import Amount
from pipeline.planning.work import PlannedWork
from pipeline.project.call import Call

FLOAT = 4
STATE = 3
"""What a checkpoint holds of each parameter: itself, and two moments of AdamW."""
CHECKPOINTS = 3
"""The engine keeps two, and drops an older one when the next is sealed."""
BESTS = 3
"""The best weights that the two checkpoints know, and those of a later evaluation."""
WEIGHTS = 2
"""A finished run keeps its last and its best weights."""


@dataclass(frozen=True)
class Disk:
    """Bytes that stay, and bytes that are needed beside them for as long as a stage runs."""

    kept: int
    passing: int = 0


def of_fetch(call: Call, amount: Amount) -> Disk | None:
    """Return what fetch downloads or draws; a folder is read where it is."""
    section: Dataset = getattr(call.params.data, amount.name)
    raw = call.project / "data" / "raw"
    if not isinstance(section.source, str):
        present = all((raw / amount.name / remote.file_name).exists() for remote in section.source)
    elif section.source == "synthetic":
        from pipeline.datasets.synthetic import folder_name

        present = (raw / "synthetic" / folder_name(amount.name, section.synthetic)).exists()
    else:
        present = True

    return Disk(0) if present else None if amount.raw is None else Disk(amount.raw)


def of_shard(call: Call, amount: Amount) -> Disk | None:
    """Return what the shards take, and DVC's copy of them."""
    return None if amount.shards is None else Disk(amount.shards * copies(call))


def of_training(
    call: Call,
    recipe: BaseRecipe,
    work: PlannedWork,
    parameters: int,
    published: bool = True,
) -> Disk:
    """Return what a training's weights take: each run's own, those that are published, and DVC's
    copy of them.

    While a run trains, its checkpoints are there, and the best weights that they may need.
    """
    runs = work.runs - work.finished
    files = copies(call) if published else 0
    if not runs:
        return Disk(parameters * FLOAT * files)
    state = STATE + (recipe.ema is not None)
    passing = state * CHECKPOINTS + min(BESTS, -(-work.evaluations // runs))
    return Disk(FLOAT * parameters * (WEIGHTS * runs + files), FLOAT * parameters * passing)


def copies(call: Call) -> int:
    """Return how often a stage's output is on disk: once more in DVC's cache, unless it links.

    Where the file system can share blocks the second copy is free; nobody knows before it is tried.
    """
    if call.folders.root != call.project:
        return 1

    config = ConfigParser(interpolation=None)
    try:
        config.read(call.project / ".dvc" / name for name in ("config", "config.local"))
    except (ConfigError, OSError):
        return 2

    first = config.get("cache", "type", fallback="reflink").split(",")[0].strip(" '\"")
    return 1 if first in ("hardlink", "symlink") else 2


def free(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free
