"""Aggregation with weights shared over positions: depth-wise convolutions, static or one a
image.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from models.aggregate import plain
from models.aggregate.native import operators as native
from models.aggregate.tracing import traced


def static(x: Tensor, weight: Tensor, bias: Tensor | None, size: int) -> Tensor:
    """One kernel a channel for all images: x (B, C, H, W), weight (1, G, K*K, 1, 1)."""
    channels = x.shape[1]
    if native.serves_depthwise(x, weight, size):
        return native.depthwise(x, _per_channel(weight, channels), bias)
    kernels = _per_channel(weight[0], channels).view(channels, 1, size, size)
    return F.conv2d(x, kernels, bias, padding=size // 2, groups=channels)


def per_image(x: Tensor, weight: Tensor, bias: Tensor | None, size: int) -> Tensor:
    """One kernel a channel and image, weight (B, G, K*K, 1, 1): the batch folded into the
    channels.
    """
    if traced():  # a format's convolution has a number of groups that no batch can change
        y = plain.per_position(x, weight, size).to(x.dtype)
        return y if bias is None else y + bias.view(1, -1, 1, 1)

    batch, channels, height, width = x.shape
    if native.serves_depthwise(x, weight, size):
        return native.depthwise(x, _per_channel(weight, channels), bias)

    kernels = _per_channel(weight, channels).reshape(batch * channels, 1, size, size)
    folded = x.reshape(1, batch * channels, height, width)
    biases = None if bias is None else bias.repeat(batch)
    y = F.conv2d(folded, kernels, biases, padding=size // 2, groups=batch * channels)
    return y.view(batch, channels, height, width)


def _per_channel(weight: Tensor, channels: int) -> Tensor:
    """(..., G, K*K, 1, 1) -> (..., C, K*K, 1, 1): every group's kernel for each of its channels."""
    return (
        weight.repeat_interleave(channels // weight.shape[-4], dim=-4)
        if weight.shape[-4] != channels
        else weight
    )
