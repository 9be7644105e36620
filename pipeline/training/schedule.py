"""The learning rate as a function of the step: no scheduler state to save."""

import math

from pipeline.params import BaseRecipe


def lr_at(step: int, recipe: BaseRecipe, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step` (from 0).

    All rates scale with the global batch over `lr_batch`. Warm-up is linear. With a cosine it
    climbs to the peak, and the cosine's clock runs from step 0, warm-up included, as in the
    official ImageNet recipe (timm's scheduler without a warm-up prefix). That trainer sets a rate
    after each step, for the next one: steps 0 and 1 both take the first rate, and every later step
    the one that its predecessor's number gives. With the other schedules each step takes the rate
    of its own number, and warm-up climbs to what the schedule has at that step, as in the official
    detection and segmentation recipes (mmcv's hook, which sets the rate before each step).
    """
    numbers = recipe.optimizer
    schedule = recipe.schedule
    scale = recipe.global_batch / numbers.lr_batch if numbers.lr_batch else 1.0

    peak = numbers.lr * scale
    start = schedule.warmup_lr * scale
    warmup = schedule.warmup_steps(steps_per_epoch)

    clock = max(0, step - 1) if schedule.kind == "cosine" else step
    rate = _after_warmup(clock, recipe, peak, schedule.min_lr * scale, steps_per_epoch)

    if clock >= warmup:
        return rate
    if schedule.kind == "cosine":
        return start + (peak - start) * clock / warmup
    return rate * (1 - (1 - clock / warmup) * (1 - start / peak))


def _after_warmup(
    clock: int, recipe: BaseRecipe, peak: float, floor: float, steps_per_epoch: int
) -> float:
    schedule = recipe.schedule
    total = recipe.duration.at_least_a_step(steps_per_epoch)
    if schedule.kind == "cosine":
        return floor + (peak - floor) * (1 + math.cos(math.pi * clock / total)) / 2
    if schedule.kind == "poly":
        return float(floor + (peak - floor) * (1 - clock / total) ** schedule.power)

    passed = sum(clock >= milestone.in_steps(steps_per_epoch) for milestone in schedule.milestones)
    return float(peak * schedule.gamma**passed)
