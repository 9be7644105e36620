"""Aggregation with weights of their own at every position, as a loop over the taps.

Unfolding would write K*K copies of the map. Here each tap multiplies the part of the map that it
reaches, and the gradient is a loop of the same kind, so that nothing but the arguments is kept for
it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.aggregate import plain
from models.aggregate.native import operators as native
from models.aggregate.taps import at, laid_out_like, taps_on
from models.aggregate.tracing import traced


def per_position(x: Tensor, weight: Tensor, bias: Tensor | None, size: int) -> Tensor:
    """From x (B, C, H, W) and weight (B or 1, G, K*K, H, W) to (B, C, H, W).

    Sums over taps are kept in float32 where the input is shorter.
    """
    if native.serves_windows(x, weight, size):
        y = native.per_position(x, weight, size)
    else:
        y = plain.per_position(x, weight, size) if traced() else _tap_by_tap(x, weight, size)
    y = y.to(x.dtype)
    return y if bias is None else y + bias.view(1, -1, 1, 1)


def _tap_by_tap(x: Tensor, weight: Tensor, size: int) -> Tensor:
    batch, channels, height, width = x.shape
    inner, taps = _same_layout(x, weight)
    y: Tensor = TapLoop.apply(inner.view(weight.shape[1], -1, *inner.shape[1:]), taps, size)
    return y.reshape(channels, height, width, batch).permute(3, 0, 1, 2)


def _same_layout(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Give x as (C, H, W, B) and weight as (G, K*K, H, W, B or 1), in a memory order that fits
    both.

    Both are float32 or longer. The weights are the larger of the two. If whole rows of them lie in
    memory one after the other they stay as they are, else the batch becomes the innermost axis.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    x = x.to(dtype)
    weight = weight.to(dtype)
    if weight.is_contiguous():
        return x.contiguous().permute(1, 2, 3, 0), weight.permute(1, 2, 3, 4, 0)
    return x.permute(1, 2, 3, 0).contiguous(), weight.permute(1, 2, 3, 4, 0).contiguous()


class TapLoop(torch.autograd.Function):
    """x (G, C/G, H, W, B), weight (G, K*K, H, W, B or 1) -> y like x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, size: int) -> Tensor:
        """Add up the taps in order, each over the part of the map where it has a neighbour."""
        ctx.save_for_backward(x, weight)
        ctx.size = size
        y = torch.zeros_like(x)
        for tap, to, source in taps_on(x.shape[2], x.shape[3], size):
            at(y, to).addcmul_(at(weight[:, tap].unsqueeze(1), to), at(x, source))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the transposed sum for x; products summed over a group's channels for the
        weights.
        """
        x, weight = ctx.saved_tensors
        dy = laid_out_like(dy, x)
        dx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        dw = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        product = torch.empty_like(x)

        # Channels of a group share a weight, and so do all images if there is one set of weights
        # for them.
        shared = (1,) if weight.shape[-1] == x.shape[-1] else (1, 4)

        for tap, to, source in taps_on(x.shape[2], x.shape[3], ctx.size):
            if dx is not None:
                at(dx, source).addcmul_(at(weight[:, tap].unsqueeze(1), to), at(dy, to))
            if dw is not None:
                torch.mul(at(dy, to), at(x, source), out=at(product, to))
                torch.sum(
                    at(product, to), dim=shared, keepdim=True, out=at(dw[:, tap].unsqueeze(1), to)
                )
        return dx, dw, None
