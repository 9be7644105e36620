"""What MLflow is told of a run beside its numbers: what identifies it, where it comes from, a line
of words.
"""

import ast
import sys
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from typing import Any

from pipeline.params.registry import classifier
from pipeline.params.variants import MIXERS
from pipeline.project.call import Call
from pipeline.project.dvcfile import stage_digest
from pipeline.project.git import commit
from pipeline.runs.run import Run
from pipeline.shards.manifest import Manifest
from pipeline.tracking.entry import DataInput

LIBRARIES = ("torch", "ray", "mlflow")
DEFAULT = "default"


def params_of(run: Run) -> dict[str, Any]:
    """Return what identifies a run beside others; what all share stands in its config.json."""
    variant = run.section.variants[run.variant]
    manifest = Manifest.load(run.shards)
    duration = run.recipe.duration
    images = manifest.splits["train"].samples * (1 - run.recipe.hold_out)
    epochs = duration.epochs or duration.steps * run.recipe.global_batch / images

    return {
        "variant": run.variant,
        "mixer": variant.mixer,
        "size": variant.size or variant.timm_name,
        "kernel_size": variant.kernel_size or _defaults(variant.mixer).get("kernel_size", "none"),
        "groups": variant.groups or DEFAULT,
        "group_channels": variant.group_channels or DEFAULT,
        **_counted(run),
        "seed": run.seed,
        "image_size": run.recipe.network_size or DEFAULT,
        "epochs": round(epochs, 4),
        "lr": run.recipe.optimizer.lr,
    }


def data_of(call: Call, run: Run) -> DataInput:
    """Return the data that a run is trained on."""
    manifest = Manifest.load(run.shards)
    dataset = run.section.dataset
    return DataInput(
        name=dataset,
        digest=manifest.digest,
        source=getattr(call.params.data, dataset).origin,
        samples={split: entry.samples for split, entry in manifest.splits.items()},
    )


def origin_of(call: Call, verb: str, stage: str, run: Run) -> dict[str, str]:
    """Return as tags where a run comes from: command, stage, commit, data, versions."""
    head, dirty = commit(call.project)
    is_stage = call.folders.root == call.project  # an ad-hoc call is no stage

    tags = {
        "stage": stage,
        "stage_digest": stage_digest(call.project, stage) if is_stage else None,
        "git_commit": head,
        "git_dirty": str(dirty).lower(),
        "manifest": Manifest.load(run.shards).digest,
        "mlflow.source.name": f"pipeline/{verb}.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": head,
        "python": sys.version.split()[0],
        **{library: version(library) for library in LIBRARIES},
    }

    return {name: str(value) for name, value in tags.items() if value}


def tags_of(call: Call, run: Run) -> dict[str, str]:
    """Return a training's tags."""
    variant = run.section.variants[run.variant]
    named = {"variant": run.variant, "mixer": variant.mixer}
    return {**named, **origin_of(call, "train", f"{run.task}@{run.variant}", run)}


def description_of(call: Call, run: Run) -> str:
    """Return a line about a training, with the place of what it comes to."""
    dataset = run.section.dataset
    source = getattr(call.params.data, dataset).origin
    results = call.folders.results(run.task, run.variant)
    return (
        f"`{run.variant}`, seed {run.seed}, trained on {dataset} ({source}). What it came to: "
        f"`{results}`."
    )


COUNTED: dict[str, dict[str, Any]] = {}
"""What was counted in this process: many runs have the same network."""


def _counted(run: Run) -> dict[str, Any]:
    """Return a network's switches, parameters and, for a classifier, MACs, built without memory.

    Some networks of other people cannot be; of those nothing is said.
    """
    variant = run.section.variants[run.variant]
    size = run.recipe.network_size
    key = repr((run.task, variant.model_name, variant.overrides, size, run.shards))
    if key not in COUNTED:
        COUNTED[key] = _count(run, size)
    return COUNTED[key]


def _count(run: Run, size: int | None) -> dict[str, Any]:
    import torch

    from models.counting.macs import count_macs, count_parameters
    from pipeline.shards.reader import read_manifest
    from pipeline.tasks.base import create

    manifest = read_manifest(run.shards, run.cache)

    try:
        with torch.device("meta"):
            model = create(run.task, run.section, run.variant, manifest).build()
        counted = {"parameters": count_parameters(model), "macs": "not counted"}
        if run.task == classifier() and size is not None:
            counted["macs"] = int(count_macs(model, size)["total"])
    except Exception:  # whatever their code raises: a run is trained without being described
        return {}

    switches = getattr(model, "switches", None)
    return counted if switches is None else {**asdict(switches), **counted}


@cache
def _defaults(mixer: str) -> dict[str, Any]:
    """Return the defaults of a mixer's options, read from its file without importing it."""
    tree = ast.parse((MIXERS / f"{mixer}.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    options = [node.args for node in functions if node.name == "block"]  # timm's has none

    return {
        argument.arg: default.value
        for arguments in options
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if isinstance(default, ast.Constant)
    }
