"""The learning rate equals that of the official trainers, step by step: timm's scheduler and mmcv's
hook.
"""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from pipeline.params import Duration, Optimizer, Schedule
from pipeline.tasks.classify.recipe import Recipe
from pipeline.tasks.detect.recipe import DetectRecipe
from pipeline.tasks.segment.recipe import SegmentRecipe
from pipeline.training.schedule import lr_at


@pytest.mark.parametrize(("warmup", "total"), [(20, 30), (5, 6)])
def test_cosine_with_warmup_is_timms_without_a_prefix(warmup: int, total: int) -> None:
    """The official trainer calls `step_update(step)` after the update of that step, so the next one
    has its rate.
    """
    schedule = Schedule(warmup=Duration(epochs=warmup))
    recipe = Recipe(
        duration=Duration(epochs=total), micro_batch=128, micro_batches=8, schedule=schedule
    )
    per_epoch = 7
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=5e-4 * 2)
    theirs = CosineLRScheduler(
        optimizer,
        t_initial=total * per_epoch,
        lr_min=5e-6 * 2,
        warmup_lr_init=5e-7 * 2,
        warmup_t=warmup * per_epoch,
        cycle_limit=1,
        t_in_epochs=False,
    )
    for step in range(total * per_epoch):
        assert lr_at(step, recipe, per_epoch) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-9
        ), step
        theirs.step_update(step)


class MmcvHook:
    """The learning rate of mmcv's `LrUpdaterHook`, which sets it before each epoch and each
    iteration.
    """

    def __init__(
        self, base: float, warmup_iters: int, warmup_ratio: float, regular: Callable[[int], float]
    ) -> None:
        self.base, self.iters, self.ratio, self.regular = base, warmup_iters, warmup_ratio, regular
        self.rate = self.epoch_rate = base

    def before_train_epoch(self, epoch: int) -> None:
        self.epoch_rate = self.rate = self.base * self.regular(epoch)

    def before_train_iter(self, iteration: int, by_epoch: bool) -> None:
        regular = self.epoch_rate if by_epoch else self.base * self.regular(iteration)
        if iteration < self.iters:
            self.rate = regular * (1 - (1 - iteration / self.iters) * (1 - self.ratio))
        elif not by_epoch or iteration == self.iters:
            self.rate = regular


def test_multistep_is_the_official_detection_schedule() -> None:
    """Its 36 epochs with steps after 27 and 33, here of 40 iterations, and its warm-up of 500."""
    milestones = (Duration(epochs=27), Duration(epochs=33))
    schedule = Schedule(
        kind="multistep", warmup=Duration(steps=500), warmup_lr=1e-7, milestones=milestones
    )
    recipe = DetectRecipe(
        optimizer=Optimizer(lr=1e-4, lr_batch=None), schedule=schedule, duration=Duration(epochs=36)
    )
    hook = MmcvHook(1e-4, 500, 1e-3, lambda epoch: 0.1 ** ((epoch >= 27) + (epoch >= 33)))
    for step in range(36 * 40):
        if step % 40 == 0:
            hook.before_train_epoch(step // 40)
        hook.before_train_iter(step, by_epoch=True)
        assert lr_at(step, recipe, 40) == pytest.approx(hook.rate, rel=1e-9), step


def test_poly_is_the_official_segmentation_schedule() -> None:
    schedule = Schedule(kind="poly", warmup=Duration(steps=1500), warmup_lr=6e-11, min_lr=0.0)
    recipe = SegmentRecipe(
        optimizer=Optimizer(lr=6e-5, lr_batch=None),
        schedule=schedule,
        duration=Duration(steps=160_000),
    )
    hook = MmcvHook(6e-5, 1500, 1e-6, lambda iteration: 1 - iteration / 160_000)
    for step in (*range(1502), 80_000, 159_999):
        hook.before_train_iter(step, by_epoch=False)
        assert lr_at(step, recipe, 10) == pytest.approx(hook.rate, rel=1e-9), step


def test_multistep_drops_at_its_milestones() -> None:
    schedule = Schedule(
        kind="multistep",
        warmup=Duration(steps=5),
        milestones=(Duration(epochs=2), Duration(epochs=3)),
    )
    recipe = Recipe(
        optimizer=Optimizer(lr=1.0, lr_batch=None), schedule=schedule, duration=Duration(epochs=4)
    )
    assert [lr_at(step, recipe, 10) for step in (5, 19, 20, 29, 30)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )


def test_poly_reaches_its_floor() -> None:
    schedule = Schedule(kind="poly", warmup=Duration(steps=1), min_lr=0.0)
    recipe = Recipe(
        optimizer=Optimizer(lr=1.0, lr_batch=None), schedule=schedule, duration=Duration(steps=100)
    )
    assert [lr_at(step, recipe, 10) for step in (25, 50, 100)] == pytest.approx([0.75, 0.5, 0.0])


@pytest.mark.parametrize("kind", ["cosine", "poly", "multistep"])
def test_a_run_of_less_than_a_step_has_one(kind: Literal["cosine", "poly", "multistep"]) -> None:
    recipe = Recipe(
        optimizer=Optimizer(lr=1.0, lr_batch=None),
        schedule=Schedule(kind=kind, warmup=None),
        duration=Duration(epochs=0.04),
    )
    assert lr_at(0, recipe, 10) == 1.0
