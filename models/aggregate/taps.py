"""Walking over the taps of a window: which part of a map each of them writes and reads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Window = tuple[slice, slice]


def rows_on(
    height: int, width: int, size: int
) -> Iterator[tuple[int, list[tuple[int, Window, Window]]]]:
    """Yield each row of the window and its taps: the tap's column, where it writes and where it
    reads.

    Zero padding needs no zeros: a tap skips the positions whose neighbour is outside the map, and a
    tap that is outside everywhere does not appear.
    """
    columns = list(_shifts(width, size))
    for row, to_rows, from_rows in _shifts(height, size):
        yield row, [(column, (to_rows, to), (from_rows, source)) for column, to, source in columns]


def taps_on(height: int, width: int, size: int) -> Iterator[tuple[int, Window, Window]]:
    """Return the same taps in one line, numbered row by row."""
    for row, taps in rows_on(height, width, size):
        for column, to, source in taps:
            yield row * size + column, to, source


def at(x: Tensor, window: Window) -> Tensor:
    """Return the part of x (., ., H, W, .) inside a window of the map."""
    return x[:, :, window[0], window[1]]


def laid_out_like(dy: Tensor, x: Tensor) -> Tensor:
    """Return a gradient in the memory order of x; it comes in that of whatever follows, and K*K
    passes are made.
    """
    return dy if dy.stride() == x.stride() else torch.empty_like(x).copy_(dy)


def _shifts(length: int, size: int) -> Iterator[tuple[int, slice, slice]]:
    for tap in range(size):
        shift = tap - size // 2
        if abs(shift) < length:
            target = slice(max(0, -shift), length - max(0, shift))
            source = slice(max(0, shift), length - max(0, -shift))
            yield tap, target, source
