"""Cutting a map of tokens into windows, and what attention inside shifted windows needs to know."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from models.aggregate.tracing import Kept


def window_of(
    height: int, width: int, window: int, shifted: bool, shrink: bool = True
) -> tuple[int, int]:
    """Side and shift of the windows on a map: (window, window // 2 or 0).

    Where the map's shorter side is not longer than the window, the window shrinks to it and nothing
    is shifted (official Swin); without `shrink` such a map is filled up and shifted like any other
    (official Swin as the backbone of detectors and segmenters).
    """
    shorter = min(height, width)
    if shrink and shorter <= window:
        return shorter, 0
    return window, window // 2 if shifted else 0


def cut(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B, windows, window * window, C); H and W are multiples of `window`."""
    batch, height, width, channels = x.shape
    tiles = x.view(batch, height // window, window, width // window, window, channels)
    return tiles.transpose(2, 3).reshape(batch, -1, window * window, channels)


def join(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, windows, window * window, C) -> (B, H, W, C), the inverse of `cut`; `size` is (H, W)."""
    batch, _, tokens, channels = x.shape
    window = isqrt(tokens)
    tiles = x.view(batch, size[0] // window, size[1] // window, window, window, channels)
    return tiles.transpose(2, 3).reshape(batch, *size, channels)


@Kept
def relative_index(window: int, table_window: int, device: torch.device) -> Tensor:
    """Row of the bias table for every pair of tokens of a window, (tokens, tokens), int64.

    The table holds the offsets of windows of `table_window`, row by row; a smaller window uses its
    middle.
    """
    line = torch.arange(window, device=device)
    rows = line.repeat_interleave(window)
    columns = line.repeat(window)
    reach = table_window - 1
    side = 2 * table_window - 1

    down = rows[:, None] - rows[None, :] + reach
    right = columns[:, None] - columns[None, :] + reach
    return down * side + right


@Kept
def shift_mask(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """0 where two tokens of a window were neighbours before the shift, else -100: (windows, tokens,
    tokens).

    A shifted map wraps around; tokens that meet only because of that belong to different regions.
    """
    rows = _region(height, window, shift, device)
    columns = _region(width, window, shift, device)
    regions = (3 * rows[:, None] + columns[None, :]).view(1, height, width, 1)
    tiles = cut(regions, window).view(-1, window * window)
    apart = tiles[:, :, None] != tiles[:, None, :]
    return apart * torch.tensor(-100.0, device=device)


def _region(length: int, window: int, shift: int, device: torch.device) -> Tensor:
    """0, 1 or 2 for each position of a shifted axis: before the last window, kept of it, wrapped
    around.
    """
    line = torch.arange(length, device=device)
    return (line >= length - window).long() + (line >= length - shift).long()
