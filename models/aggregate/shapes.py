"""What the two arguments of an aggregation must look like."""

from __future__ import annotations

from math import isqrt

from torch import Tensor


def kernel_size(x: Tensor, weight: Tensor) -> int:
    """Check x (B, C, H, W) against weight (B or 1, G, K*K, H or 1, W or 1) and return K.

    Raises:
        ValueError: a wrong number of axes, groups that do not divide the channels, an even or
            broken kernel, or axes of `weight` that are neither 1 nor as long as those of `x`.
    """
    if x.ndim != 4 or weight.ndim != 5:
        raise ValueError(
            f"aggregate takes x (B, C, H, W) and weight (B or 1, G, K*K, H or 1, W or 1), "
            f"not {tuple(x.shape)} and {tuple(weight.shape)}"
        )

    batch, channels, height, width = x.shape
    b, groups, taps, h, w = weight.shape
    size = odd_root(taps)
    if channels % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels")
    if b not in (1, batch) or (h, w) not in ((1, 1), (height, width)):
        raise ValueError(
            f"weight {tuple(weight.shape)} fits neither one nor all of {batch} images and "
            f"{height}x{width} positions"
        )
    return size


def odd_root(taps: int) -> int:
    """K for K*K taps.

    Raises:
        ValueError: `taps` is not the square of an odd number.
    """
    size = isqrt(taps)
    if size * size != taps or size % 2 == 0:
        raise ValueError(f"a kernel must have K*K taps with odd K, not {taps}")
    return size
