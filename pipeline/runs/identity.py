"""What decides a run's result, and the run's fingerprint: a digest of it.

Code enters as the bytes of its files, so a comment or another name changes the id of every run that
the file decides, too: a finished run is used again only where the very same code would run. All
modules of a task's folder count, its metrics as well: they choose the best weights and are in the
record.

The whole recipe is in the id, `checkpoint_every` too: at a checkpoint the ranks average running
statistics and the interval's loss, so on several of them it moves the last bits of what follows.
"""

from pathlib import Path
from typing import Any

from pipeline.core.files import digest, sha256_file
from pipeline.params import Task, Variant
from pipeline.params.registry import tasks
from pipeline.runs.weights import weights_digest

TRAINING = (
    "models/__init__.py",
    "models/aggregate",
    "models/mixers/__init__.py",
    "models/network",
    "models/registry.py",
    "pipeline/core/pixels",
    "pipeline/loading",
    "pipeline/tasks/base.py",
    "pipeline/training",
)
"""The code that decides a run's result, whatever the task; a folder stands for its modules. A task
says what else does (`AboutTask.code`). A test holds the list against the imports.

dvc.yaml lists the same and `pipeline/runs`, which decides what is published. It is not in the id,
although training loads checkpoints and given weights with it: a checkpoint has to have the digest
that was sealed, given weights (their digest is in the id) all names and shapes of the network.
"""
NOT_HASHED = ("about.py", "operations.py", "prediction.py", "recipe.py")
"""Files of a task's folder that are not in the id: what `recipe.py` does is in the values of the
recipe, which are; the others describe, count and predict, and no training runs through them.
"""


def code_of(task: str, mixer: str) -> list[str]:
    """Return the files and folders whose content decides a run of `task` with `mixer`, relative to
    the project.
    """
    return sorted(
        {
            *TRAINING,
            *tasks()[task].code,
            f"pipeline/tasks/{task}",
            f"models/mixers/{mixer}.py",
        }
    )


def modules(project: Path, code: list[str]) -> list[str]:
    """Return the files, folders opened, without `NOT_HASHED`."""
    paths = [project / name for name in code]
    files = [
        file
        for path in paths
        for file in (_sources(path) if path.is_dir() else [path])
        if file.name not in NOT_HASHED
    ]

    return [file.relative_to(project).as_posix() for file in files]


def _sources(folder: Path) -> list[Path]:
    """Return a folder's modules, and the kernels that are compiled on the machine."""
    return sorted(
        file for file in folder.rglob("*.*") if file.suffix in (".py", ".c", ".cpp", ".h")
    )


def decides(
    project: Path,
    task: str,
    section: Task,
    variant: str,
    seed: int,
    manifest: str,
    init: Path | None,
) -> dict[str, Any]:
    """Return everything that decides a run's result; cluster and tracking are not in it.

    Its digest is the run's id.
    """
    entry: Variant = section.variants[variant]
    return {
        "task": task,
        "model": entry.model_name,
        "overrides": entry.overrides,
        "recipe": section.recipe_of(variant).model_dump(mode="json"),
        "seed": seed,
        "manifest": manifest,
        "init": weights_digest(init) if init else None,
        "code": {
            name: sha256_file(project / name)
            for name in modules(project, code_of(task, entry.mixer))
        },
    }


def run_id(decided: dict[str, Any]) -> str:
    """Return the id of a run: a digest of what `decides` says."""
    return digest(decided)[:16]
