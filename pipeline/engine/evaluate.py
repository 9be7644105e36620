"""Evaluation that sees each sample exactly once, on any number of ranks."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from pipeline.loading.batches import EvalSamples, Ranks
from pipeline.params import BaseRecipe
from pipeline.tasks import Batch, TaskLogic

DRAWN = 18
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(recipe: BaseRecipe, device: torch.device) -> torch.autocast:
    """Return the recipe's mixed-precision context."""
    return torch.autocast(device.type, dtype=AMP.get(recipe.amp, torch.bfloat16), enabled=recipe.amp != "none")


@torch.inference_mode()
def evaluate(
    logic: TaskLogic, model: nn.Module, batches: Iterable[Batch], recipe: BaseRecipe, ranks: Ranks, device: torch.device
) -> dict[str, float]:
    """Return the metrics over the whole split; ranks evaluate different batches and add their sums."""
    was_training = model.training
    model.eval()
    evaluator = logic.evaluator()
    for batch in batches:
        prepared = logic.prepare(batch, device)
        with autocast(recipe, device):
            outputs = model(prepared["images"])
        evaluator.update(outputs, prepared)
    model.train(was_training)
    sums = evaluator.sums()
    if ranks.world > 1:
        moved = sums.to(device)
        dist.all_reduce(moved)
        sums = moved.cpu()
    return evaluator.result(sums)


@torch.inference_mode()
def draw(logic: TaskLogic, model: nn.Module, samples: EvalSamples, recipe: BaseRecipe, device: torch.device) -> Any:
    """Return a picture of predictions on samples from all over the split."""
    model.eval()
    raw = samples.spread(DRAWN)
    with autocast(recipe, device):
        return logic.draw(model, logic.prepare(raw, device), raw)
