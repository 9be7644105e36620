"""Local attention with a window around every position ("sliding" sampling; paper, sections 1.3 and
3.5).

The same attention as Swin's over the neighbours that a depth-wise convolution sees: an aggregation
whose weights are a softmax of dot products. No code of it was released; neighbours outside the map
take no part in the softmax. It stands in Swin's block, or as the operator in the block of the
depth-wise networks, beside `i_dynamic_dwnet`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.aggregate import aggregate
from models.aggregate.plain import neighbours
from models.aggregate.tracing import traced
from models.network.blocks import DepthwiseBlock, PreNormBlock
from models.network.layers import Norm, PointConv, make_norm, norm_tokens
from models.network.options import head_channels, heads_of, odd_kernel
from models.network.spec import BlockConfig, Switches, sharing

SWITCHES = Switches(
    neighbourhood="sliding", shared_positions=False, shared_channels="groups", dynamic=True
)
ATTENTION = True
Skeleton = Literal["attention", "depthwise"]


class SlidingAttention(nn.Module):
    """Multi-head attention of every token to the K x K tokens around it, with a learned bias for
    each offset.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kernel_size: int,
        *,
        position_bias: bool = True,
        projection_norm: Norm | None = None,
    ) -> None:
        """`dim` is C; `projection_norm` puts a norm of that kind behind both projections.

        Raises:
            ValueError: `heads` does not divide C.
        """
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(heads, dim))
        self.heads = heads
        self.kernel_size = kernel_size
        self.scale = head_channels(dim, heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.softmax = nn.Softmax(dim=2)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = (
            offset_biases(kernel_size, heads) if position_bias else None
        )
        self.qkv_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, 3 * dim)
        )
        self.proj_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        query, key, value = (
            norm_tokens(self.qkv_norm, self.qkv(x)).permute(0, 3, 1, 2).chunk(3, dim=1)
        )

        scores = sliding_scores(
            query * self.scale, key, self.heads, self.kernel_size, self.relative_position_bias_table
        )
        mixed = aggregate(value, self.softmax(scores).to(value.dtype))
        return norm_tokens(self.proj_norm, self.proj(mixed.permute(0, 2, 3, 1)))

    def extra_macs(self, x: Tensor) -> int:
        """Return the two products of attention, scores and weighted sum."""
        return 2 * x.numel() * self.kernel_size**2


class AttentionDepthwise(nn.Module):
    """The same attention as an operator of the depth-wise skeleton, whose 1x1 convolutions are its
    projections.

    It aggregates its input as it is. Queries and keys are made of that input too, as the kernels of
    `i_dynamic_dwnet` are; like those it has no bias.
    """

    def __init__(
        self, dim: int, heads: int, kernel_size: int, *, position_bias: bool = True
    ) -> None:
        """`dim` is C.

        Raises:
            ValueError: `heads` does not divide C.
        """
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(heads, dim))
        self.heads = heads
        self.kernel_size = kernel_size
        self.scale = head_channels(dim, heads) ** -0.5
        self.query_key = PointConv(dim, 2 * dim, bias=True)
        self.softmax = nn.Softmax(dim=2)
        self.relative_position_bias_table = (
            offset_biases(kernel_size, heads) if position_bias else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        query, key = self.query_key(x).chunk(2, dim=1)
        scores = sliding_scores(
            query * self.scale, key, self.heads, self.kernel_size, self.relative_position_bias_table
        )
        return aggregate(x, self.softmax(scores).to(x.dtype))

    def extra_macs(self, x: Tensor) -> int:
        """Return the two products of attention, scores and weighted sum."""
        return 2 * x.numel() * self.kernel_size**2


def offset_biases(kernel_size: int, heads: int) -> nn.Parameter:
    """Return a learned bias for each tap and head, (K*K, heads), as small at the start as
    Swin's.
    """
    table = nn.Parameter(torch.empty(kernel_size**2, heads))
    nn.init.trunc_normal_(table, std=0.02)
    return table


def sliding_scores(
    query: Tensor, key: Tensor, heads: int, kernel_size: int, biases: Tensor | None
) -> Tensor:
    """Dot products of every position's query with the keys around it, and the biases of their
    offsets.

    Args:
        query: (B, C, H, W), scaled.
        key: (B, C, H, W).
        heads: a divisor of C.
        kernel_size: K, odd.
        biases: (K*K, heads), or None.

    Returns:
        What the softmax takes, (B, heads, K*K, H, W); -inf outside the map.
    """
    if traced():
        return _scores_at_once(query, key, heads, kernel_size, biases)

    height, width = query.shape[2:]
    size = kernel_size
    reach = kernel_size // 2
    query = query.unflatten(1, (heads, -1))
    border = (reach, reach, reach, reach)
    around = F.pad(key, border).unflatten(1, (heads, -1))
    outside = F.pad(query.new_zeros(height, width), border, value=-torch.inf)

    scores = []
    for tap in range(size * size):
        row, column = divmod(tap, size)
        window = (..., slice(row, row + height), slice(column, column + width))
        scores.append((query * around[window]).sum(dim=2) + outside[window])

    stacked = torch.stack(scores, dim=2)
    return stacked if biases is None else stacked + biases.T[None, :, :, None, None]


def _scores_at_once(
    query: Tensor, key: Tensor, heads: int, kernel_size: int, biases: Tensor | None
) -> Tensor:
    """Return the same in the few operations of an exported network."""
    around = neighbours(key, kernel_size).unflatten(1, (heads, -1))
    inside = neighbours(torch.ones_like(key[:1, :1]), kernel_size)
    products: Tensor = query.unflatten(1, (heads, -1)).unsqueeze(3) * around
    scores = products.sum(dim=2).masked_fill(inside == 0, -torch.inf)
    return scores if biases is None else scores + biases.T[None, :, :, None, None]


def block(
    place: BlockConfig,
    *,
    kernel_size: int = 7,
    group_channels: int | None = None,
    skeleton: Skeleton = "attention",
    position_bias: bool = True,
    norm: Norm | None = None,
    projection_norm: bool | None = None,
    se: bool = False,
) -> nn.Module:
    """One block; `group_channels` is the channels of a head, without it there are as many heads as
    the size has.

    `skeleton` is Swin's block (`attention`) or that of the depth-wise networks (`depthwise`). What
    `norm` and `projection_norm` leave open is as that skeleton has it: LayerNorm and none behind
    the projections, or BatchNorm and one behind each.

    Raises:
        ValueError: another skeleton, or a number that does not fit.
    """
    if skeleton not in get_args(Skeleton):
        raise ValueError(
            "skeleton must be attention (Swin's block) or depthwise (the depth-wise networks'), "
            f"not {skeleton!r}"
        )

    heads = heads_of(place, group_channels)
    size = odd_kernel(kernel_size)
    if skeleton == "depthwise":
        operator = AttentionDepthwise(place.dim, heads, size, position_bias=position_bias)
        in_projections = True if projection_norm is None else projection_norm
        return DepthwiseBlock(place, operator, norm or "bn", in_projections, se)

    token_norm = norm or "ln"
    mixer = SlidingAttention(
        place.dim,
        heads,
        size,
        position_bias=position_bias,
        projection_norm=token_norm if projection_norm else None,
    )
    return PreNormBlock(place, mixer, token_norm, se)
