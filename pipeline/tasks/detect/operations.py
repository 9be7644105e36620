"""Counting a detector: parameters, and operations an image."""

from statistics import mean

from pipeline.params import Variant
from pipeline.tasks.counting import Operations, counted, size_within
from pipeline.tasks.detect.recipe import DetectRecipe


def operations(variant: Variant, recipe: DetectRecipe, classes: int, aspect: float) -> Operations:
    """Count a detector for an image of the mean size of the augmentation, with as many regions as
    are trained on.
    """
    trained = max(1, round(recipe.cascade.regions * recipe.cascade.positive_fraction))
    short = mean(recipe.augment.short_sides)
    long = recipe.augment.long_side

    parameters, train = _counted(
        variant,
        recipe,
        classes,
        size_within((short, long), aspect),
        recipe.cascade.regions,
        trained,
    )
    _, evaluation = _counted(
        variant,
        recipe,
        classes,
        size_within(recipe.cascade.test_sides, aspect),
        recipe.proposals.kept_test,
        recipe.cascade.detections,
    )

    return Operations(parameters, train, evaluation)


def _counted(
    variant: Variant,
    recipe: DetectRecipe,
    classes: int,
    size: tuple[int, int],
    kept: int,
    detections: int,
) -> tuple[int, float]:
    """Count a detector that keeps so many regions, and draws masks of so many detections."""
    import torch

    from models.heads import CascadeSettings, ProposalSettings, create_detector

    heads = recipe.cascade.model_dump(include=set(CascadeSettings.__dataclass_fields__))

    with torch.device("meta"):
        model = create_detector(
            variant.model_name,
            classes,
            proposals=ProposalSettings(**{**recipe.proposals.model_dump(), "kept_test": kept}),
            cascade=CascadeSettings(**{**heads, "detections": detections}),
            **variant.overrides,
        )
    return counted(model, size)
