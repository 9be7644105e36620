"""Counting a training's network: parameters, and operations an image in training and in evaluation.

Needs torch, which takes seconds to import: asked only where nothing that was measured answers.
"""

from dataclasses import dataclass
from statistics import mean
from typing import Any

from pipeline.core.errors import UserError
from pipeline.planning.work import Training

PHOTOGRAPH = 4 / 3
"""Width over height of the usual photograph."""
CLASSES = {"classify": 1000, "detect": 80, "segment": 150}
"""Of the official data sets: what a few classes more or less cost is nothing."""


@dataclass(frozen=True)
class Operations:
    """Parameters of a network, and its operations for one image, forward, by the rule of
    `profile`.
    """

    parameters: int
    train: float
    evaluation: float


def operations_of(training: Training, aspect: float = PHOTOGRAPH) -> Operations:
    """Count a network in one pass of zeros.

    With heads this is for an image of the mean size of the augmentation, with as many regions as
    are trained on.

    Args:
        training: which network, and in `recipe` its heads and sizes.
        aspect: the longer side of an image over the shorter.

    Raises:
        UserError: there is no such network.
    """
    count = {"classify": _classifier, "detect": _detector, "segment": _segmenter}[training.task]
    try:
        return count(training, CLASSES[training.task], aspect)
    except ValueError as error:
        raise UserError(f"{training.name}: {error}") from None


def _classifier(training: Training, classes: int, _: float) -> Operations:
    import torch

    import models

    bound = {} if training.variant.mixer == "timm" else {"image_size": training.recipe.image_size}
    with torch.device(_place(training)):
        model = models.create_model(
            training.variant.model_name, num_classes=classes, **bound, **training.variant.overrides
        )
    parameters, flops = _counted(model, (training.recipe.image_size, training.recipe.image_size))
    return Operations(parameters, flops, flops)


def _detector(training: Training, classes: int, aspect: float) -> Operations:
    import torch

    from models.heads import CascadeSettings, ProposalSettings, create_detector

    recipe = training.recipe
    heads = recipe.cascade.model_dump(include=set(CascadeSettings.__dataclass_fields__))
    trained = {
        "detections": max(1, round(recipe.cascade.regions * recipe.cascade.positive_fraction))
    }
    counted = []
    for size, kept, changed in (
        (
            _fitted((mean(recipe.augment.short_sides), recipe.augment.long_side), aspect),
            recipe.cascade.regions,
            trained,
        ),
        (_fitted(recipe.cascade.test_sides, aspect), recipe.proposals.kept_test, {}),
    ):
        with torch.device(_place(training)):
            model = create_detector(
                training.variant.model_name,
                classes,
                proposals=ProposalSettings(**{**recipe.proposals.model_dump(), "kept_test": kept}),
                cascade=CascadeSettings(**{**heads, **changed}),
                **training.variant.overrides,
            )
        counted.append(_counted(model, size))
    return Operations(counted[0][0], counted[0][1], counted[1][1])


def _segmenter(training: Training, classes: int, aspect: float) -> Operations:
    import torch

    from models.heads import UPerNetSettings, create_segmenter

    recipe = training.recipe
    heads = UPerNetSettings(
        **recipe.upernet.model_dump(include=set(UPerNetSettings.__dataclass_fields__))
    )
    with torch.device(_place(training)):
        model = create_segmenter(
            training.variant.model_name, classes, upernet=heads, **training.variant.overrides
        )
    parameters, flops = _counted(model, recipe.augment.crop)
    views = (1 + recipe.upernet.test_flip) * sum(scale**2 for scale in recipe.upernet.test_scales)
    return Operations(
        parameters, flops, _counted(model, _fitted(recipe.upernet.test_sides, aspect))[1] * views
    )


def _place(training: Training) -> str:
    """Return where to count: without memory, or for a network so small that the imports of that
    take longer.
    """
    return "cpu" if training.task == "classify" and training.variant.size == "micro" else "meta"


def _fitted(sides: tuple[float, float], aspect: float) -> tuple[int, int]:
    """Return (height, width) of an image that fits between two sides, in multiples of the coarsest
    stride.
    """
    height = min(*sides, max(sides) / aspect)
    rows, columns = (max(32, round(side / 32) * 32) for side in (height, height * aspect))
    return rows, columns


def _counted(model: Any, size: tuple[int, int]) -> tuple[int, float]:
    from models.counting.flops import count_flops, count_parameters

    return count_parameters(model), float(count_flops(model, size)["total"])
