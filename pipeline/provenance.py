"""Where a result comes from: the code that decides it, the commit, and the stage's inputs as DVC sees them."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import digest, sha256_file
from pipeline.params import Task, Variant
from pipeline.params.reading import read_tree

# What decides a run's result besides its parameters and data; a folder stands for its modules. dvc.yaml lists the same;
# a test holds both against the imports.
ENGINE = (
    "pipeline/engine/batchnorm.py",
    "pipeline/engine/evaluate.py",
    "pipeline/engine/interval.py",
    "pipeline/engine/loop.py",
    "pipeline/engine/optimizer.py",
    "pipeline/engine/schedule.py",
    "pipeline/engine/state.py",
    "pipeline/evaluators/__init__.py",
    "pipeline/loading/augment.py",
    "pipeline/loading/batches.py",
    "pipeline/loading/grouping.py",
    "pipeline/loading/order.py",
    "pipeline/loading/parts.py",
    "pipeline/loading/randomness.py",
    "pipeline/loading/sizes.py",
    "pipeline/tasks/__init__.py",
)
BACKBONE = (
    "models/__init__.py",
    "models/aggregate",
    "models/backbone.py",
    "models/blocks.py",
    "models/layers.py",
    "models/mixers/__init__.py",
    "models/options.py",
    "models/registry.py",
    "models/sizes.py",
    "models/spec.py",
    "models/windows.py",
)
TASK = {
    "classify": ("pipeline/evaluators/accuracy.py", "pipeline/tasks/classify.py"),
    "detect": (
        "models/heads",
        "pipeline/datasets/objects.py",
        "pipeline/evaluators/coco.py",
        "pipeline/loading/detection.py",
        "pipeline/loading/geometry.py",
        "pipeline/loading/masks.py",
        "pipeline/tasks/dense.py",
        "pipeline/tasks/detect.py",
    ),
    "segment": (
        "models/heads",
        "pipeline/evaluators/miou.py",
        "pipeline/loading/geometry.py",
        "pipeline/loading/photometric.py",
        "pipeline/loading/segmentation.py",
        "pipeline/tasks/dense.py",
        "pipeline/tasks/segment.py",
    ),
}


def code_of(task: str, mixer: str) -> list[str]:
    """Return the files and folders whose content decides a run of `task` with `mixer`, relative to the project."""
    return sorted({*ENGINE, *BACKBONE, *TASK[task], f"models/mixers/{mixer}.py"})


def modules(project: Path, code: list[str]) -> list[str]:
    """Return the files, folders opened."""
    paths = [project / name for name in code]
    files = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return [file.relative_to(project).as_posix() for file in files]


def decides(
    project: Path, task: str, section: Task, variant: str, seed: int, manifest: str, init: Path | None
) -> dict[str, Any]:
    """Return everything that decides a run's result; cluster and tracking are not in it. Its digest is the run's id."""
    entry: Variant = section.variants[variant]
    return {
        "task": task,
        "model": entry.model_name,
        "overrides": entry.overrides,
        "recipe": section.recipe_of(variant).model_dump(mode="json"),
        "seed": seed,
        "manifest": manifest,
        "init": sha256_file(init) if init else None,
        "code": {name: sha256_file(project / name) for name in modules(project, code_of(task, entry.mixer))},
    }


def run_id(decided: dict[str, Any]) -> str:
    """Return the id of a run: a digest of what `decides` says."""
    return digest(decided)[:16]


def commit(project: Path) -> tuple[str | None, bool]:
    """Return the git commit and whether tracked files differ from it, dvc.lock aside; (None, False) outside git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True)
        status = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock"]
        changed = subprocess.run(status, cwd=project, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None, False
    return head.stdout.strip(), bool(changed.stdout.strip())


def stage_digest(project: Path, stage: str) -> str | None:
    """Return the digest of a stage's dependencies and parameters as dvc.lock will hold them.

    `stage` is a name such as `classify@dwnet_micro`. None where the project has no such stage.
    """
    group, _, key = stage.partition("@")
    try:
        stages, tree = read_tree(project / "dvc.yaml")["stages"], read_tree(project / "params.yaml")
        body = stages[group]
        item = _lookup(tree, body["foreach"][2:-1])[key] if key else None
    except (UserError, KeyError, TypeError):
        return None
    body = body.get("do", body)
    fill = {"key": key, **({f"item.{name}": value for name, value in item.items()} if isinstance(item, dict) else {})}
    deps = sorted(_filled(path, fill, tree) for path in body.get("deps", []))
    params = [_filled(name, fill, tree) for name in body.get("params", [])]
    locked = {
        "deps": [{"path": path, **_hashed(project / path)} for path in deps],
        "params": {name: _lookup(tree, name) for name in params},
    }
    return digest(locked)


def _filled(text: str, fill: dict[str, Any], tree: dict[str, Any]) -> str:
    for name, value in fill.items():
        text = text.replace(f"${{{name}}}", str(value))
    while "${" in text:
        name = text[text.index("${") + 2 : text.index("}")]
        text = text.replace(f"${{{name}}}", str(_lookup(tree, name)))
    return text


def _lookup(tree: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree[part]
    return tree


def _hashed(path: Path) -> dict[str, Any]:
    """Return a file's or folder's MD5 and size as DVC has them; a folder's is that of the list of its files."""
    if path.is_file():
        return {"md5": _md5(path), "size": path.stat().st_size}
    files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    rows = [{"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listed = hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return {"md5": f"{listed}.dir", "size": sum(file.stat().st_size for file in files)}


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
