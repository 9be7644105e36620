"""The learning rate as a function of the step: no scheduler state to save."""

import math

from pipeline.params import BaseRecipe


def lr_at(step: int, recipe: BaseRecipe, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step` (from 0).

    Warm-up is linear. The cosine's clock runs from step 0, warm-up included, as in the official ImageNet recipe
    (timm's scheduler without a warm-up prefix). All rates scale with the global batch over `lr_batch`.
    """
    numbers, schedule = recipe.optimizer, recipe.schedule
    scale = recipe.global_batch / numbers.lr_batch if numbers.lr_batch else 1.0
    peak, start, floor = numbers.lr * scale, schedule.warmup_lr * scale, schedule.min_lr * scale
    total = recipe.duration.in_steps(steps_per_epoch)
    warmup = schedule.warmup.in_steps(steps_per_epoch)
    if step < warmup:
        return start + (peak - start) * step / warmup
    if schedule.kind == "cosine":
        return floor + (peak - floor) * (1 + math.cos(math.pi * step / total)) / 2
    if schedule.kind == "poly":
        return float(floor + (peak - floor) * (1 - step / total) ** schedule.power)
    passed = sum(step >= milestone.in_steps(steps_per_epoch) for milestone in schedule.milestones)
    return float(peak * schedule.gamma**passed)
