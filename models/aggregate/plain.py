"""The same sums in a few operations that every format knows, for a network that is exported.

All neighbours are written out, K*K copies of the map. That costs memory, and makes a graph of
dozens of operations instead of thousands.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.aggregate.shapes import odd_root


def neighbours(x: Tensor, size: int) -> Tensor:
    """Return every position's window, with zeros outside the map: (B, C, H, W) -> (B, C, K*K, H,
    W).
    """
    batch, channels, height, width = x.shape
    windows = F.unfold(x, size, padding=size // 2)
    return windows.view(batch, channels, size * size, height, width)


def per_position(x: Tensor, weight: Tensor, size: int) -> Tensor:
    """From x (B, C, H, W) and weight (B or 1, G, K*K, H or 1, W or 1) to (B, C, H, W), in float32
    or longer.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    around = neighbours(x.to(dtype), size).unflatten(1, (weight.shape[1], -1))
    y: Tensor = (around * weight.to(dtype).unsqueeze(2)).sum(dim=3).flatten(1, 2)
    return y


def predicted(x: Tensor, features: Tensor, projection: Tensor, bias: Tensor, groups: int) -> Tensor:
    """As `aggregate_predicted`, with its weights written out."""
    size = odd_root(projection.shape[0] // groups)
    dtype = torch.promote_types(x.dtype, torch.float32)
    tokens = features.permute(0, 2, 3, 1).to(dtype)
    weight = F.linear(tokens, projection.to(dtype), bias.to(dtype)).permute(0, 3, 1, 2)
    return per_position(x, weight.unflatten(1, (groups, -1)), size).to(x.dtype)
