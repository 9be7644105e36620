"""Trainings made small: two steps, one evaluation, a micro-batch of few images.

All else stays the recipe's own.
"""

from dataclasses import replace
from typing import Any

from pipeline.params import Task
from pipeline.params.section import merged
from pipeline.rehearsal.places import WalkItem

STEPS = 2
MORE = 2
"""Images of a micro-batch at most.

A task says whether one will do, since a detector's two need much memory.
"""


def small(place: WalkItem, images: int, micro_batches: int = 1) -> WalkItem:
    """Return a place whose training takes `STEPS` steps of `micro_batches` times `images`
    images.
    """
    return replace(
        place, section=small_section(place.section, place.variant, images, micro_batches)
    )


def small_section(section: Task, variant: str, images: int, micro_batches: int = 1) -> Task:
    """Return a section whose only variant is `variant`, trained for `STEPS` steps."""
    every = {"steps": STEPS}
    less: dict[str, Any] = {
        "duration": every,
        "evaluate_every": every,
        "checkpoint_every": every,
        "micro_batch": images,
        "micro_batches": micro_batches,
    }

    entry = section.variants[variant]
    entry = entry.model_copy(update={"recipe": merged(entry.recipe, less)})
    return section.model_copy(update={"variants": {variant: entry}})
