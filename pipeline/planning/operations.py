"""Counting a training's network: parameters, and operations an image in training and in evaluation.

Needs torch, which takes seconds to import: asked only where nothing that was measured answers.
"""

from typing import cast

from pipeline.core.errors import UserError
from pipeline.params.registry import datasets, member, tasks
from pipeline.planning.work import Training
from pipeline.tasks.counting import Operations

PHOTOGRAPH = 4 / 3
"""Width over height of the usual photograph."""


def operations_of(training: Training, aspect: float = PHOTOGRAPH) -> Operations:
    """Count a network in one pass of zeros, with as many classes as the official data set has: what
    a few more or less cost is nothing.

    Args:
        training: which network, and in `recipe` its heads and sizes.
        aspect: the longer side of an image over the shorter.

    Raises:
        UserError: there is no such network.
    """
    count = member(tasks()[training.task].operations)
    classes = datasets()[training.section.dataset].classes
    try:
        return cast(Operations, count(training.variant, training.recipe, classes, aspect))
    except ValueError as error:
        raise UserError(f"{training.name}: {error}") from None
