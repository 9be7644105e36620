"""Counting a classifier: parameters, and operations an image."""

from pipeline.params import Variant
from pipeline.tasks.classify.recipe import Recipe
from pipeline.tasks.counting import Operations, counted


def operations(variant: Variant, recipe: Recipe, classes: int, aspect: float) -> Operations:
    """Count a classifier; its images are square whatever `aspect` is."""
    import torch

    import models

    bound = {} if variant.mixer == "timm" else {"image_size": recipe.image_size}
    with torch.device(_place(variant)):
        model = models.create_model(
            variant.model_name, num_classes=classes, **bound, **variant.overrides
        )

    parameters, macs = counted(model, (recipe.image_size, recipe.image_size))
    return Operations(parameters, macs, macs)


def _place(variant: Variant) -> str:
    """Return where to count: without memory, or for a network so small that the imports of that
    take longer.
    """
    return "cpu" if variant.size == "micro" else "meta"
