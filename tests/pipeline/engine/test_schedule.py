"""The learning rate equals timm's scheduler as the official trainer uses it, step by step."""

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from pipeline.engine.schedule import lr_at
from pipeline.params import Duration, Optimizer, Recipe, Schedule


def test_cosine_with_warmup_is_timms_without_a_prefix() -> None:
    recipe = Recipe(duration=Duration(epochs=30), micro_batch=128, micro_batches=8)
    per_epoch = 7
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=5e-4 * 2)
    theirs = CosineLRScheduler(
        optimizer, t_initial=30 * per_epoch, lr_min=5e-6 * 2, warmup_lr_init=5e-7 * 2, warmup_t=20 * per_epoch,
        cycle_limit=1, t_in_epochs=False,
    )  # fmt: skip
    for step in range(30 * per_epoch):
        theirs.step_update(step)
        assert lr_at(step, recipe, per_epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step


def test_multistep_drops_at_its_milestones() -> None:
    schedule = Schedule(kind="multistep", warmup=Duration(steps=5), milestones=(Duration(epochs=2), Duration(epochs=3)))
    recipe = Recipe(optimizer=Optimizer(lr=1.0, lr_batch=None), schedule=schedule, duration=Duration(epochs=4))
    assert [lr_at(step, recipe, 10) for step in (5, 19, 20, 29, 30)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_poly_reaches_its_floor() -> None:
    schedule = Schedule(kind="poly", warmup=Duration(steps=1), min_lr=0.0)
    recipe = Recipe(optimizer=Optimizer(lr=1.0, lr_batch=None), schedule=schedule, duration=Duration(steps=100))
    assert [lr_at(step, recipe, 10) for step in (25, 50, 100)] == pytest.approx([0.75, 0.5, 0.0])


def test_warmup_climbs_to_what_poly_has_at_that_step() -> None:
    """The official segmentation recipe: lr = 6e-5 (1 - t/160000), times a ramp from 1e-6 to 1 over 1,500 steps."""
    schedule = Schedule(kind="poly", warmup=Duration(steps=1500), warmup_lr=6e-11, min_lr=0.0)
    recipe = Recipe(optimizer=Optimizer(lr=6e-5, lr_batch=None), schedule=schedule, duration=Duration(steps=160_000))
    for step in (0, 1, 750, 1499, 1500):
        ramp = min(1.0, 1e-6 + (1 - 1e-6) * step / 1500)
        assert lr_at(step, recipe, 10) == pytest.approx(6e-5 * (1 - step / 160_000) * ramp, rel=1e-9), step
