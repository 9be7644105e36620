"""What a classification variant costs on this device, counted and timed."""

import platform
import time
from pathlib import Path
from typing import Any

from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.core.files import digest
from pipeline.params import Params
from pipeline.runs.results.profile import ProfileFile

CLASSES = 1000
"""The paper's, so that profiles stand beside published numbers."""
ALIKE = ("device", "threads", "precision", "layout", "batch_size", "image_size", "macs_rule")
"""What must be the same for two profiles to be compared."""


def profile_of(params: Params, name: str, folder: Path) -> dict[str, Any]:
    """Return the profile of a variant; one that contradicts itself is measured again, and says so
    where it still does.

    Args:
        params: the whole parameters.
        name: an entry of `classify.variants`.
        folder: where profiles of others are published.

    Raises:
        UserError: there is no such network.
    """
    profile = _measured(params, name)
    if _doubts(profile, folder):
        profile = _measured(params, name)
    return {**profile, "doubts": _doubts(profile, folder)}


def _measured(params: Params, name: str) -> dict[str, Any]:
    """Return parameters, MACs, speed and memory, and how they were taken."""
    import torch

    import models
    from models.counting.macs import count_macs, count_parameters
    from models.counting.speed import Protocol, measure

    variant = params.classify.variants[name]
    recipe = params.classify.recipe_of(name)
    bound = {} if variant.mixer == "timm" else {"image_size": recipe.image_size}

    torch.manual_seed(0)
    try:
        model = models.create_model(
            variant.model_name, num_classes=CLASSES, **bound, **variant.overrides
        )
    except ValueError as error:
        raise UserError(str(error)) from None

    counted = count_macs(model, recipe.image_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    protocol = Protocol(**params.profile.model_dump())
    timed = measure(model, recipe.image_size, protocol, device, recipe.amp, recipe.channels_last)

    return {
        "variant": name,
        "mixer": variant.mixer,
        "size": variant.size,
        "model": variant.model_name,
        "overrides": variant.overrides,
        "classes": CLASSES,
        "parameters": count_parameters(model),
        "macs": counted["total"],
        "macs_rule": counted["rule"],
        "inference_macs_per_second": round(counted["total"] * timed["inference_images_per_second"]),
        **timed,
        "boot": _boot(),
        "measured": int(time.time()),
    }


def _boot() -> str:
    """Return what names this machine from one start to the next, and says nothing else of it."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return digest(path.read_text() if path.exists() else platform.node())[:12]


def _doubts(profile: dict[str, Any], folder: Path) -> list[str]:
    """Return what cannot be true of a profile beside those that were made alike."""
    from models.counting.speed import doubts

    profiles = (records.read(path, ProfileFile) for path in sorted(folder.glob("*/profile.json")))
    others = [
        candidate
        for candidate in profiles
        if candidate is not None
        and candidate["variant"] != profile["variant"]
        and all(candidate.get(key) == profile[key] for key in ALIKE)
    ]
    return doubts(profile, others)
