"""Evaluation that sees each sample exactly once, on any number of ranks."""

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from pipeline.core.errors import UserError
from pipeline.loading.micro_batches import Broken, EvalSamples, Ranks
from pipeline.loading.sampling import Batch
from pipeline.params import BaseRecipe
from pipeline.tasks.base import Evaluator, Result, TaskLogic
from pipeline.training.precision import autocast


def evaluate(
    logic: TaskLogic,
    model: nn.Module,
    batches: Iterable[Batch | Broken],
    recipe: BaseRecipe,
    ranks: Ranks,
    device: torch.device,
) -> Result:
    """Return the metrics over the whole split, on every rank; ranks evaluate different batches.

    Raises:
        UserError: a sample is broken, on every rank, whichever met it.
    """
    state: Any
    try:
        state = collect(logic, model, batches, recipe, device).state()
    except UserError as error:
        state = error
    return _joined(logic, state, ranks)


@torch.inference_mode()
def collect(
    logic: TaskLogic,
    model: nn.Module,
    batches: Iterable[Batch | Broken],
    recipe: BaseRecipe,
    device: torch.device,
) -> Evaluator:
    """Return an evaluator that has seen these batches.

    Raises:
        UserError: a sample is broken; the sentence has its key.
    """
    was_training = model.training
    model.eval()
    evaluator = logic.evaluator()

    for batch in batches:
        if isinstance(batch, Broken):
            raise batch.error
        prepared = logic.prepare(batch, device)
        with autocast(recipe.eval_amp, device):
            outputs = logic.predict(model, prepared)
        evaluator.update(outputs, prepared)

    model.train(was_training)
    return evaluator


def _joined(logic: TaskLogic, state: Any, ranks: Ranks) -> Result:
    """Take the result on rank 0, which alone needs the memory for what all ranks collected, and
    tell it to all.
    """
    states: list[Any] | None = (
        [state] if ranks.world == 1 else [None] * ranks.world if ranks.rank == 0 else None
    )
    if ranks.world > 1:
        dist.gather_object(state, states)

    result = [_result(logic, states) if states is not None else None]
    if ranks.world > 1:
        dist.broadcast_object_list(result)

    if isinstance(result[0], UserError):
        raise result[0]
    return cast(Result, result[0])


def _result(logic: TaskLogic, states: list[Any]) -> Result | UserError:
    """Return the result of all ranks' states, or the first error that is one of them."""
    errors = [state for state in states if isinstance(state, UserError)]
    return errors[0] if errors else logic.evaluator().result(states)


@torch.inference_mode()
def draw(
    logic: TaskLogic,
    model: nn.Module,
    samples: EvalSamples,
    recipe: BaseRecipe,
    device: torch.device,
) -> Any:
    """Return a picture of predictions on samples from all over the split."""
    model.eval()
    raw = samples.spread(logic.draw_count)
    if isinstance(raw, Broken):
        raise raw.error
    with autocast(recipe.eval_amp, device):
        return logic.draw(model, logic.prepare(raw, device), raw)
