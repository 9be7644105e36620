"""The aggregation written for reading: a sum over taps, in the precision of its input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.aggregate.shapes import kernel_size


def aggregate_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[b, c, p] = sum over k of weight[b, g(c), k, p] * x[b, c, p + k], zeros outside the map.

    Shapes and errors are those of `models.aggregate.aggregate`. Slow and differentiable; the
    measure of every faster path.
    """
    size = kernel_size(x, weight)
    batch, channels, height, width = x.shape
    groups, reach = weight.shape[1], size // 2
    padded = F.pad(x, (reach, reach, reach, reach)).view(
        batch, groups, channels // groups, height + 2 * reach, -1
    )
    y = torch.zeros_like(x, memory_format=torch.contiguous_format).view(
        batch, groups, -1, height, width
    )
    for tap in range(size * size):
        row, column = divmod(tap, size)
        shifted = padded[..., row : row + height, column : column + width]
        y = y + weight[:, :, tap].unsqueeze(2) * shifted
    y = y.view(batch, channels, height, width)
    return y if bias is None else y + bias.view(1, -1, 1, 1)
