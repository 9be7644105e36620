"""The learning rate as a function of the step: no scheduler state to save."""

import math

from pipeline.params import BaseRecipe


def lr_at(step: int, recipe: BaseRecipe, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step` (from 0).

    All rates scale with the global batch over `lr_batch`. Warm-up is linear. With a cosine it climbs to the peak, and
    the cosine's clock runs from step 0, warm-up included, as in the official ImageNet recipe (timm's scheduler without
    a warm-up prefix); with the others it climbs to what the schedule has at that step, as in the official detection
    and segmentation recipes (mmcv's hook).
    """
    numbers, schedule = recipe.optimizer, recipe.schedule
    scale = recipe.global_batch / numbers.lr_batch if numbers.lr_batch else 1.0
    peak, start = numbers.lr * scale, schedule.warmup_lr * scale
    warmup = schedule.warmup_steps(steps_per_epoch)
    rate = _after_warmup(step, recipe, peak, schedule.min_lr * scale, steps_per_epoch)
    if step >= warmup:
        return rate
    if schedule.kind == "cosine":
        return start + (peak - start) * step / warmup
    return rate * (1 - (1 - step / warmup) * (1 - start / peak))


def _after_warmup(step: int, recipe: BaseRecipe, peak: float, floor: float, steps_per_epoch: int) -> float:
    schedule, total = recipe.schedule, recipe.duration.in_steps(steps_per_epoch)
    if schedule.kind == "cosine":
        return floor + (peak - floor) * (1 + math.cos(math.pi * step / total)) / 2
    if schedule.kind == "poly":
        return float(floor + (peak - floor) * (1 - step / total) ** schedule.power)
    passed = sum(step >= milestone.in_steps(steps_per_epoch) for milestone in schedule.milestones)
    return float(peak * schedule.gamma**passed)
