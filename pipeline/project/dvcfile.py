"""The stages of dvc.yaml without DVC: a stage's inputs as dvc.lock will hold them, and whether
there is a way to make them.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import digest
from pipeline.params.reading import read_tree

KINDS = ("deps", "outs")
CLASSIFIERS = "results/classify/"


def items(project: Path, stage: str) -> list[str]:
    """Return what a stage of dvc.yaml is repeated for.

    Raises:
        UserError: dvc.yaml cannot be read, or has no such stage.
    """
    path = project / "dvc.yaml"
    try:
        return list(read_tree(path)["stages"][stage]["foreach"])
    except (KeyError, TypeError):
        raise UserError(
            f"{path} has no stage '{stage}' with a list under foreach; add it again"
        ) from None


def outs_in_lock(project: Path) -> list[str]:
    """Return every file and folder that dvc.lock says a stage made.

    Raises:
        UserError: dvc.lock is not there, or cannot be read.
    """
    stages = read_tree(project / "dvc.lock").get("stages", {})
    return sorted({out["path"] for stage in stages.values() for out in stage.get("outs", [])})


def stage_digest(project: Path, stage: str) -> str | None:
    """Return the digest of a stage's dependencies and parameters as dvc.lock will hold them.

    `stage` is a name such as `classify@dwnet_micro`. None where the project has no such stage.
    """
    group, _, key = stage.partition("@")
    try:
        stages = read_tree(project / "dvc.yaml")["stages"]
        tree = read_tree(project / "params.yaml")
        body = stages[group]
        item = _lookup(tree, body["foreach"][2:-1])[key] if key else None
    except (UserError, KeyError, TypeError):
        return None

    body = body.get("do", body)
    fill = _values(key, item)
    deps = sorted(_filled(path, fill, tree) for path in body.get("deps", []))
    params = [_filled(name, fill, tree) for name in body.get("params", [])]
    locked = {
        "deps": [{"path": path, **_hashed(project / path)} for path in deps],
        "params": {name: _lookup(tree, name) for name in params},
    }

    return digest(locked)


def refuse_unmade(project: Path) -> None:
    """Stop before DVC does where a stage depends on the weights of a classifier that no stage
    trains. DVC knows no dependency that may be absent, as that of a network that starts from
    nothing would be.

    Raises:
        UserError: naming the first such stage.
    """
    try:
        stages = read_tree(project / "dvc.yaml")["stages"]
        tree = read_tree(project / "params.yaml")
        paths = {
            name: {
                kind: [_filled(path, fill, tree) for path in body.get(kind, [])] for kind in KINDS
            }
            for name, body, fill in _stages(stages, tree)
        }
    except (UserError, KeyError, TypeError, AttributeError):
        return  # DVC and the parameters say what is wrong with them

    outs = [out for stage in paths.values() for out in stage["outs"]]
    for name, stage in paths.items():
        for dep in stage["deps"]:
            is_made = any(dep.startswith(f"{out}/") for out in outs) or (project / dep).exists()
            if dep.startswith(CLASSIFIERS) and not is_made:
                task, _, variant = name.partition("@")
                raise UserError(
                    f"{name} of dvc.yaml depends on {dep}, which is not there and no stage makes; "
                    f"add {variant} to classify.variants, or move it to a parameters file of its "
                    f"own and train it outside of dvc: python -m pipeline.train {task} {variant} "
                    "--params FILE"
                )


def _stages(
    stages: dict[str, Any], tree: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield every stage by its name, and what its `foreach` fills in."""
    for verb, body in stages.items():
        each = body.get("foreach")
        if each is None:
            yield verb, body, {}
            continue
        items = _lookup(tree, each[2:-1]) if isinstance(each, str) else each
        for key in items:
            item = items[key] if isinstance(items, dict) else key
            yield f"{verb}@{key}", body["do"], _values(key, item)


def _values(key: str, item: Any) -> dict[str, Any]:
    """Return what a `foreach` fills in for one of its items."""
    if isinstance(item, dict):
        return {"key": key, **{f"item.{name}": value for name, value in item.items()}}
    return {"key": key, "item": item}


def _filled(text: str, fill: dict[str, Any], tree: dict[str, Any]) -> str:
    for name, value in fill.items():
        text = text.replace(f"${{{name}}}", str(value))
    while "${" in text:
        name = text[text.index("${") + 2 : text.index("}")]
        text = text.replace(f"${{{name}}}", str(_lookup(tree, name)))
    return text


def _lookup(tree: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        tree = tree[key]
    return tree


def _hashed(path: Path) -> dict[str, Any]:
    """Return a file's or folder's MD5 and size as DVC has them; a folder's is that of the list of
    its files.
    """
    if path.is_file():
        return {"md5": _md5(path), "size": path.stat().st_size}

    files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    rows = [{"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listed = hashlib.md5(
        json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False
    ).hexdigest()

    return {"md5": f"{listed}.dir", "size": sum(file.stat().st_size for file in files)}


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
