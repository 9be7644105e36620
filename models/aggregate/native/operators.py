"""The compiled kernels as differentiable operations on tensors."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_long, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from models.aggregate.native.library import library
from models.aggregate.native.switch import asked
from models.aggregate.tracing import traced

LANES = 16
"""Channels that the depth-wise kernels take at once."""
DEPTHWISE_SIZES = (3, 5, 7, 9)
WIDEST = 15
POSITIONS = 256
"""Positions whose predicted weights are held at once: 1.6 MB at 32 groups of 7x7."""


def serves(*tensors: Tensor) -> bool:
    """Return whether the native kernels are asked for, are there, and take these tensors."""
    return (
        not traced()
        and asked()
        and all(type(t) in (Tensor, torch.nn.Parameter) and t.is_cpu for t in tensors)
        and all(t.dtype in (torch.float32, torch.bfloat16) for t in tensors)
        and all(t.numel() for t in tensors)
        and library() is not None
    )


def serves_depthwise(x: Tensor, weight: Tensor, size: int) -> bool:
    """Return the same for kernels that are shared by all positions."""
    return (
        serves(x, weight)
        and size in DEPTHWISE_SIZES
        and x.shape[1] % LANES == 0
        and _convolved(x) == _convolved(weight) != torch.float16
    )


def serves_windows(x: Tensor, weight: Tensor, size: int) -> bool:
    """Return the same for weights that are written out for each position."""
    return serves(x, weight) and size <= WIDEST


def serves_predicted(x: Tensor, features: Tensor, groups: int, size: int) -> bool:
    """Return the same for weights that are predicted at each position."""
    return serves(x, features) and groups % 8 == 0 and size <= WIDEST


def depthwise(x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """From x (B, C, H, W) and kernels (B or 1, C, K*K, 1, 1) to (B, C, H, W), channels_last."""
    dtype = _convolved(x)
    tokens = x.to(dtype).permute(0, 2, 3, 1).contiguous()
    taps = kernels.to(dtype).flatten(2).transpose(1, 2).float().contiguous()
    y: Tensor = Depthwise.apply(tokens, taps, None if bias is None else bias.to(dtype))
    return y.permute(0, 3, 1, 2)


def _convolved(x: Tensor) -> torch.dtype:
    """Return the type in which a convolution would run here."""
    enabled = torch.is_autocast_enabled("cpu")
    return torch.get_autocast_dtype("cpu") if enabled else x.dtype


class Maps(ctypes.Structure):
    """Sizes of maps, as the kernels take them."""

    _fields_ = [(name, c_long) for name in ("batch", "height", "width", "channels")]


class Windows(ctypes.Structure):
    """Sizes of maps whose positions have written weights."""

    _fields_ = [
        (name, c_long)
        for name in ("images", "groups", "depth", "height", "width", "size", "shared")
    ]


class Rows(ctypes.Structure):
    """Sizes of an image whose positions have predicted weights, and some of its rows."""

    _fields_ = [
        (name, c_long) for name in ("height", "width", "depth", "groups", "size", "first", "last")
    ]


class Depthwise(torch.autograd.Function):
    """x (B, H, W, C), taps (B or 1, K*K, C) in float32, bias (C) -> y like x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
        """Correlate each channel with its kernel."""
        ctx.save_for_backward(x, taps)
        ctx.with_bias = bias is not None
        return _correlated(x, taps, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Correlate the gradient with the flipped kernels; for the kernels a kernel of its own."""
        x, taps = ctx.saved_tensors
        dy = dy.contiguous()
        dx = _correlated(dy, taps.flip(1)) if ctx.needs_input_grad[0] else None
        dtaps = _taps_gradient(x, dy, taps) if ctx.needs_input_grad[1] else None
        dbias = dy.sum(dim=(0, 1, 2)) if ctx.with_bias and ctx.needs_input_grad[2] else None
        return dx, dtaps, dbias


def _correlated(x: Tensor, taps: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C).

    For kernels that all images share there is nothing better than a convolution of the library.
    """
    size = round(taps.shape[1] ** 0.5)
    if taps.shape[0] == 1:
        kernels = taps[0].T.reshape(-1, 1, size, size).to(x.dtype)
        maps = x.permute(0, 3, 1, 2)
        y = F.conv2d(maps, kernels, bias, padding=size // 2, groups=x.shape[3])
        return y.permute(0, 2, 3, 1).contiguous()

    y = torch.empty_like(x)
    start = torch.zeros(x.shape[3]) if bias is None else bias.float()
    _call("depthwise", x, taps, start, y, Maps(*x.shape), c_long(size), _halves(x))
    return y


def _taps_gradient(x: Tensor, dy: Tensor, taps: Tensor) -> Tensor:
    size = round(taps.shape[1] ** 0.5)
    per_image = taps.shape[0] > 1
    dtaps = torch.empty_like(taps)
    arguments = (x, dy, dtaps, Maps(*x.shape), c_long(size), c_int(per_image), _halves(x))
    _call("depthwise_weights", *arguments)
    return dtaps


def per_position(x: Tensor, weight: Tensor, size: int) -> Tensor:
    """From x (B, C, H, W) and weight (B or 1, G, K*K, H, W) to (B, C, H, W), in float32."""
    batch, channels, height, width = x.shape
    maps = x.float().contiguous().view(batch, weight.shape[1], -1, height, width)
    y: Tensor = PerPosition.apply(maps, weight.float().contiguous(), size)
    return y.view(batch, channels, height, width)


class PerPosition(torch.autograd.Function):
    """x (B, G, D, H, W), weight (B or 1, G, K*K, H, W) -> y like x; all contiguous and float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, size: int) -> Tensor:
        """Add up the taps of each row."""
        ctx.save_for_backward(x, weight)
        ctx.windows = Windows(*x.shape, size, weight.shape[0] == 1)
        y = torch.empty_like(x)
        _call("per_position", x, weight, y, ctx.windows)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return both gradients from one walk over the weights, the largest tensor."""
        x, weight = ctx.saved_tensors
        dx = torch.empty_like(x)
        dweight = torch.empty_like(weight)
        _call("per_position_gradient", x, weight, dy.contiguous(), dx, dweight, ctx.windows)
        return dx, dweight, None


def predicted(
    x: Tensor, features: Tensor, projection: Tensor, bias: Tensor, groups: int, size: int
) -> Tensor:
    """As `models.aggregate.aggregate_predicted`, in float32."""
    # Channel d of every group lies side by side: as many weights meet as many channels.
    maps = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1)).transpose(3, 4).float().contiguous()
    # A last feature that is always 1 carries the bias.
    tokens = F.pad(features.permute(0, 2, 3, 1).float(), (0, 1), value=1.0).flatten(1, 2)
    affine = torch.cat((projection, bias.unsqueeze(1)), dim=1).float()
    rows = affine.view(groups, size * size, -1).transpose(0, 1).flatten(0, 1)

    y: Tensor = PredictedWindows.apply(maps, tokens, rows, size)
    return y.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


class PredictedWindows(torch.autograd.Function):
    """x (B, H, W, D, G), tokens (B, H*W, E), rows (K*K*G, E) -> y like x; contiguous, float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tokens: Tensor, rows: Tensor, size: int) -> Tensor:
        """Predict the weights of some rows of an image, use them and forget them."""
        ctx.save_for_backward(x, tokens, rows)
        ctx.size = size
        y = torch.empty_like(x)
        weight = _room(x, rows)

        for image, run, positions in _runs(x, size):
            predicted_weights = weight[: positions.stop - positions.start]
            torch.mm(tokens[image, positions], rows.T, out=predicted_weights)
            _call("predicted_rows", x[image], predicted_weights, y[image], run)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Predict them again, and pass their gradient on to the tokens and the projection."""
        x, tokens, rows = ctx.saved_tensors
        dy = dy.contiguous()
        dx = torch.zeros_like(x)
        dtokens = torch.empty_like(tokens)
        drows = torch.zeros_like(rows)
        room = _room(x, rows)
        droom = _room(x, rows)

        for image, run, positions in _runs(x, ctx.size):
            weight, dweight = (full[: positions.stop - positions.start] for full in (room, droom))
            torch.mm(tokens[image, positions], rows.T, out=weight)
            arguments = (x[image], weight, dy[image], dx[image], dweight, run)
            _call("predicted_rows_gradient", *arguments)
            torch.mm(dweight, rows, out=dtokens[image, positions])
            drows.addmm_(dweight.T, tokens[image, positions])
        return dx, dtokens, drows, None


def _runs(x: Tensor, size: int) -> list[tuple[int, Rows, slice]]:
    """Return runs of rows of every image, and which of its positions they are."""
    batch, height, width, depth, groups = x.shape
    step = max(1, POSITIONS // width)

    return [
        (
            image,
            Rows(height, width, depth, groups, size, first, min(first + step, height)),
            slice(first * width, min(first + step, height) * width),
        )
        for image in range(batch)
        for first in range(0, height, step)
    ]


def _room(x: Tensor, rows: Tensor) -> Tensor:
    """Return room for the weights of one run of rows."""
    positions = max(1, POSITIONS // x.shape[2]) * x.shape[2]
    return rows.new_empty(positions, rows.shape[0])


def _halves(x: Tensor) -> c_int:
    return c_int(x.dtype == torch.bfloat16)


def _call(name: str, *arguments: Any) -> None:
    """Call a kernel; tensors go as their addresses."""
    kernels = library()
    assert kernels is not None
    kernels[name](*(c_void_p(a.data_ptr()) if isinstance(a, Tensor) else a for a in arguments))
