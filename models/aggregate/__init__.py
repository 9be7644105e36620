"""The one operation under every sliding mixer: weighted sums over a window around each position."""

from __future__ import annotations

from torch import Tensor

from models.aggregate.native import kernels
from models.aggregate.per_position import per_position
from models.aggregate.predicted import aggregate_predicted
from models.aggregate.shapes import kernel_size
from models.aggregate.shared import per_image, static

__all__ = ["aggregate", "aggregate_predicted", "kernels"]


def aggregate(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[b, c, p] = sum over k of weight[b, g(c), k, p] * x[b, c, p + k], zeros outside the map.

    The axes of `weight` that have length 1 say what is shared: over images (static weights), over
    positions (a convolution), and G < C over channels, in contiguous groups of C / G. Which path
    computes it depends on those axes; the result does not.

    Args:
        x: (B, C, H, W), any memory layout.
        weight: (B or 1, G, K*K, H or 1, W or 1), K odd, taps row by row, G a divisor of C.
        bias: (C), added at the end.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: shapes that do not fit, see `models.aggregate.shapes.kernel_size`.
    """
    size = kernel_size(x, weight)
    if weight.shape[3:] != (1, 1):
        return per_position(x, weight, bias, size)
    if weight.shape[0] == 1:
        return static(x, weight, bias, size)
    return per_image(x, weight, bias, size)
