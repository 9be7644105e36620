"""Counting a segmenter: parameters, and operations an image."""

from pipeline.params import Variant
from pipeline.tasks.counting import Operations, counted, size_within
from pipeline.tasks.segment.recipe import SegmentRecipe


def operations(variant: Variant, recipe: SegmentRecipe, classes: int, aspect: float) -> Operations:
    """Count a segmenter for a crop of the augmentation, and for all views of an evaluation."""
    import torch

    from models.heads import UPerNetSettings, create_segmenter

    heads = UPerNetSettings(
        **recipe.upernet.model_dump(include=set(UPerNetSettings.__dataclass_fields__))
    )
    with torch.device("meta"):
        model = create_segmenter(variant.model_name, classes, upernet=heads, **variant.overrides)

    parameters, train = counted(model, recipe.augment.crop)
    views = (1 + recipe.upernet.test_flip) * sum(scale**2 for scale in recipe.upernet.test_scales)
    _, evaluation = counted(model, size_within(recipe.upernet.test_sides, aspect))
    return Operations(parameters, train, evaluation * views)
