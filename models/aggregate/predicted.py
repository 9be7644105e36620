"""Aggregation whose weights at a position are a linear function of features there, without ever
holding them.

With 32 groups and 49 taps a position has 1568 weights, sixteen times its 96 channels: written out
they would be the largest tensor of the network. One row of the kernels is predicted at a time, used
while it is in the cache and forgotten; the gradient predicts it again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from models.aggregate import plain
from models.aggregate.native import operators as native
from models.aggregate.shapes import odd_root
from models.aggregate.taps import at, laid_out_like, rows_on
from models.aggregate.tracing import traced


def aggregate_predicted(
    x: Tensor, features: Tensor, projection: Tensor, bias: Tensor, groups: int
) -> Tensor:
    """`aggregate(x, weight)`, weight[b, g, k, p] = projection[g*K*K + k] .

    features[b, :, p] + bias[g*K*K + k].

    Sums are kept in float32 where the input is shorter.

    Args:
        x: (B, C, H, W).
        features: (B, D, H, W).
        projection: (G*K*K, D), K odd.
        bias: (G*K*K).
        groups: G, a divisor of C.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: the projection's rows are not G odd squares, or G does not divide C.
    """
    channels, height, width = x.shape[1:]
    if channels % groups or projection.shape[0] % groups:
        raise ValueError(
            f"{groups} groups do not divide {channels} channels and {projection.shape[0]} weights"
        )

    size = odd_root(projection.shape[0] // groups)
    if traced():
        return plain.predicted(x, features, projection, bias, groups)
    if native.serves_predicted(x, features, groups, size):
        return native.predicted(x, features, projection, bias, groups, size).to(x.dtype)

    dtype = torch.promote_types(x.dtype, torch.float32)
    # The batch becomes the innermost axis: memory runs stay long on the smallest map, with its rows
    # of two.
    inner = x.permute(1, 2, 3, 0).to(dtype).contiguous()
    # A last feature that is always 1 carries the bias: one product predicts, and one brings it its
    # gradient.
    constant = F.pad(features.permute(1, 2, 3, 0).to(dtype).flatten(1), (0, 0, 0, 1), value=1.0)
    affine = torch.cat((projection, bias.unsqueeze(1)), dim=1).to(dtype)
    # What one row of the kernels needs lies together: (K rows, K taps and G groups, D + 1).
    rows = affine.view(groups, size, size, -1).permute(1, 2, 0, 3).reshape(size, size * groups, -1)
    y: Tensor = PredictedRows.apply(inner.view(groups, -1, *inner.shape[1:]), constant, rows)
    return y.reshape(channels, height, width, -1).permute(3, 0, 1, 2).to(x.dtype)


class PredictedRows(torch.autograd.Function):
    """x (G, C/G, H, W, B), features (D, H*W*B), rows (K, K*G, D) -> y like x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: Tensor, rows: Tensor) -> Tensor:
        """Row by row of the kernels: predicts its weights, then adds up its taps."""
        ctx.save_for_backward(x, features, rows)
        y = torch.zeros_like(x)
        weight = _row_of_weights(x, rows)

        for row, taps in rows_on(x.shape[2], x.shape[3], rows.shape[0]):
            torch.mm(rows[row], features, out=weight.view(rows.shape[1], -1))
            for column, to, source in taps:
                at(y, to).addcmul_(at(weight[column], to), at(x, source))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predicts each row again and passes its gradient on to the features and the projection."""
        x, features, rows = ctx.saved_tensors
        dy = laid_out_like(dy, x)
        dx = torch.zeros_like(x)
        dfeatures = torch.zeros_like(features)
        drows = torch.zeros_like(rows)
        weight = _row_of_weights(x, rows)
        dweight = _row_of_weights(x, rows)
        product = torch.empty_like(x)
        flat = dweight.view(rows.shape[1], -1)

        for row, taps in rows_on(x.shape[2], x.shape[3], rows.shape[0]):
            torch.mm(rows[row], features, out=weight.view(rows.shape[1], -1))
            dweight.zero_()
            for column, to, source in taps:
                at(dx, source).addcmul_(at(weight[column], to), at(dy, to))
                torch.mul(at(dy, to), at(x, source), out=at(product, to))
                torch.sum(at(product, to), dim=1, keepdim=True, out=at(dweight[column], to))
            dfeatures.addmm_(rows[row].T, flat)
            torch.mm(flat, features.T, out=drows[row])
        return dx, dfeatures, drows


def _row_of_weights(x: Tensor, rows: Tensor) -> Tensor:
    """Room for one row of every kernel, (K, G, 1, H, W, B)."""
    return x.new_empty(rows.shape[0], x.shape[0], 1, *x.shape[2:])
