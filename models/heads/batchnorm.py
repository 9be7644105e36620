"""Batch norms and small batches: how small a training batch may be, and training without batch
statistics.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.network.backbone import Backbone

USUAL_SIZE = (224, 224)


def smallest_batch(model: nn.Module, image_size: tuple[int, int] | None = None) -> tuple[int, str]:
    """Return the least number of images (on one rank, or over ranks with `SyncBatchNorm`) that
    `model` can be trained with.

    Found by a pass on a copy without memory: a batch norm that sees a single value an image and
    channel, because the map was averaged before, has no variance over one image.

    Args:
        model: a classifier, detector or segmenter.
        image_size: (height, width); by default the one that its backbone was built for.

    Returns:
        1 or 2, and a sentence that says why.
    """
    copy = _without_memory(model).train()
    lone: list[str] = []
    for name, module in copy.named_modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(partial(_note_if_lone, lone, name))
    built_for = next(
        (m.layout.image_size for m in copy.modules() if isinstance(m, Backbone)), USUAL_SIZE
    )

    with torch.no_grad():
        getattr(copy, "fixed_work", copy)(
            torch.empty(2, 3, *(image_size or built_for), device="meta")
        )

    if not lone:
        return (
            1,
            "every batch norm that uses the batch's statistics sees several values of an image",
        )
    others = f" and {len(lone) - 1} more" if len(lone) > 1 else ""
    return (
        2,
        f"a batch norm sees one value of an image in {lone[0]}{others}, and one image has no "
        "variance",
    )


def _without_memory(model: nn.Module) -> nn.Module:
    """Return a copy on `meta`, made without copying the weights."""
    parameters = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()
    }
    buffers = {id(b): b.to("meta") for b in model.buffers()}
    return deepcopy(model, {**parameters, **buffers})


def _note_if_lone(lone: list[str], name: str, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
    x = args[0]
    if norm.training and x.numel() == x.shape[0] * x.shape[1]:
        lone.append(name)


def freeze_batchnorm_statistics(model: nn.Module) -> None:
    """Make all batch norms use their running statistics in training too, and leave them as they
    are.

    Their weights and biases stay trainable, and names in the state dict stay. It survives
    `train()`, copies and wrappers. Convert to `SyncBatchNorm` before, not after: conversion makes
    new modules.
    """
    for module in model.modules():
        if (
            isinstance(module, _BatchNorm)
            and _use_running_statistics not in module._forward_pre_hooks.values()
        ):
            # Before any hook of others, so that they see the mode that counts.
            module.register_forward_pre_hook(_use_running_statistics, prepend=True)


def _use_running_statistics(norm: nn.Module, _: Any) -> None:
    norm.training = False
