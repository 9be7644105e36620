"""Evaluation that sees each sample exactly once, on any number of ranks."""

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn

from pipeline.evaluators import Evaluator, Result
from pipeline.loading.batches import EvalSamples, Ranks
from pipeline.params import BaseRecipe, Precision
from pipeline.tasks import Batch, TaskLogic

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the mixed-precision context of a recipe's `amp` or `eval_amp`."""
    return torch.autocast(device.type, dtype=AMP.get(precision, torch.bfloat16), enabled=precision != "none")


def evaluate(
    logic: TaskLogic, model: nn.Module, batches: Iterable[Batch], recipe: BaseRecipe, ranks: Ranks, device: torch.device
) -> Result:
    """Return the metrics over the whole split, on every rank; ranks evaluate different batches."""
    return _joined(collect(logic, model, batches, recipe, device), ranks)


@torch.inference_mode()
def collect(
    logic: TaskLogic, model: nn.Module, batches: Iterable[Batch], recipe: BaseRecipe, device: torch.device
) -> Evaluator:
    """Return an evaluator that has seen these batches."""
    was_training = model.training
    model.eval()
    evaluator = logic.evaluator()
    for batch in batches:
        prepared = logic.prepare(batch, device)
        with autocast(recipe.eval_amp, device):
            outputs = logic.predict(model, prepared)
        evaluator.update(outputs, prepared)
    model.train(was_training)
    return evaluator


def _joined(evaluator: Evaluator, ranks: Ranks) -> Result:
    """Take the result on rank 0, which alone needs the memory for what all ranks collected, and tell it to all."""
    if ranks.world == 1:
        return evaluator.result([evaluator.state()])
    states: list[Any] | None = [None] * ranks.world if ranks.rank == 0 else None
    dist.gather_object(evaluator.state(), states)
    result = [evaluator.result(states) if states is not None else None]
    dist.broadcast_object_list(result)
    return cast(Result, result[0])


@torch.inference_mode()
def draw(logic: TaskLogic, model: nn.Module, samples: EvalSamples, recipe: BaseRecipe, device: torch.device) -> Any:
    """Return a picture of predictions on samples from all over the split."""
    model.eval()
    raw = samples.spread(logic.drawn)
    with autocast(recipe.eval_amp, device):
        return logic.draw(model, logic.prepare(raw, device), raw)
