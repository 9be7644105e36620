"""What published weights say of themselves: how the network is built, what it takes, what it was
measured to be.

The keys are those of timm's and the hub's `config.json` where these have one.
"""

from collections.abc import Mapping
from typing import Any

from models.network.sizes import MEAN, SIZES, STD
from pipeline.runs.results.training import Metrics
from pipeline.runs.run import Run

FIRST_CONV = "backbone.stem.proj"
CLASSIFIER = "head"


def describe(run: Run, classes: list[str], metrics: Metrics) -> dict[str, Any]:
    """Return what a run's weights are, as JSON; equal runs of one commit say the same.

    Args:
        run: whose weights they are.
        classes: names, in the order of the network's outputs.
        metrics: what is published beside them.
    """
    variant = run.section.variants[run.variant]
    usage = run.recipe.usage
    seed = next(row for row in metrics.seeds if row.seed == run.seed)
    timm = variant.mixer == "timm"
    options = dict(variant.overrides)
    if usage is not None and usage.fixed_size is not None and not timm:
        options["image_size"] = usage.fixed_size

    description = {
        "task": run.task,
        "variant": run.variant,
        "mixer": variant.mixer,
        "size": variant.size,
        "architecture": variant.timm_name if timm else variant.model_name,
        "model_args": options,
        "num_classes": len(classes),
        "label_names": classes,
        "main_metric": metrics.main_metric,
        "metrics": seed.final,
        "run_id": run.id,
        "seed": run.seed,
        "data": metrics.data.model_dump(mode="json"),
        "commit": metrics.commit,
        "dirty": metrics.dirty,
    }

    if variant.size is not None:
        width = options.get("embed_dim", SIZES[variant.size].embed_dim)
        description["num_features"] = 8 * width
    if usage is None:
        return description

    transform = {**usage.transform, "mean": list(MEAN), "std": list(STD)}
    description |= {"network": usage.network, "heads": usage.heads, "transform": transform}
    if usage.network == "classifier":
        description["pretrained_cfg"] = _pretrained_cfg(transform, len(classes), timm)
    return description


def _pretrained_cfg(transform: Mapping[str, Any], classes: int, timm: bool) -> dict[str, Any]:
    """Return the same as timm reads it, so that it loads the folder as `local-dir:FOLDER`."""
    names = {} if timm else {"first_conv": FIRST_CONV, "classifier": CLASSIFIER}

    return {
        "input_size": [3, transform["crop"], transform["crop"]],
        "interpolation": transform["interpolation"],
        "crop_pct": transform["crop"] / transform["resize"],
        "crop_mode": "center",
        "mean": transform["mean"],
        "std": transform["std"],
        "num_classes": classes,
        **names,
    }
