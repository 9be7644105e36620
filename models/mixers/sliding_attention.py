"""Local attention with a window around every position ("sliding" sampling; paper, sections 1.3 and 3.5).

The same attention as Swin's over the neighbours that a depth-wise convolution sees: an aggregation whose weights
are a softmax of dot products. No code of it was released; neighbours outside the map take no part in the softmax.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.aggregate import aggregate
from models.blocks import PreNormBlock
from models.layers import Norm, make_norm, norm_tokens
from models.options import head_channels, odd_kernel
from models.spec import Place, Switches

SWITCHES = Switches(neighbourhood="sliding", shared_positions=False, shared_channels="groups", dynamic=True)


class SlidingAttention(nn.Module):
    """Multi-head attention of every token to the K x K tokens around it, with a learned bias for each offset."""

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
        self.switches = SWITCHES
        self.heads, self.kernel_size = heads, kernel_size
        self.scale = head_channels(dim, heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.softmax = nn.Softmax(dim=2)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = None
        if position_bias:
            self.relative_position_bias_table = nn.Parameter(torch.empty(kernel_size**2, heads))
            nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv_norm = nn.Identity() if projection_norm is None else make_norm(projection_norm, 3 * dim)
        self.proj_norm = nn.Identity() if projection_norm is None else make_norm(projection_norm, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        query, key, value = norm_tokens(self.qkv_norm, self.qkv(x)).permute(0, 3, 1, 2).chunk(3, dim=1)
        mixed = aggregate(value, self.softmax(self.scores(query, key)).to(value.dtype))
        return norm_tokens(self.proj_norm, self.proj(mixed.permute(0, 2, 3, 1)))

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """What the softmax takes, (B, heads, K*K, H, W), from query and key (B, C, H, W); -inf outside the map."""
        height, width = query.shape[2:]
        size, reach = self.kernel_size, self.kernel_size // 2
        query = (query * self.scale).unflatten(1, (self.heads, -1))
        border = (reach, reach, reach, reach)
        around = F.pad(key, border).unflatten(1, (self.heads, -1))
        outside = F.pad(query.new_zeros(height, width), border, value=-torch.inf)
        scores = []
        for tap in range(size * size):
            row, column = divmod(tap, size)
            there = (..., slice(row, row + height), slice(column, column + width))
            scores.append((query * around[there]).sum(dim=2) + outside[there])
        stacked = torch.stack(scores, dim=2)
        if self.relative_position_bias_table is not None:
            stacked = stacked + self.relative_position_bias_table.T[None, :, :, None, None]
        return stacked

    def extra_macs(self, x: Tensor) -> int:
        """The two products of attention, scores and weighted sum."""
        return 2 * x.numel() * self.kernel_size**2


def block(
    place: Place,
    *,
    kernel_size: int = 7,
    position_bias: bool = True,
    norm: Norm = "ln",
    projection_norm: bool = False,
    se: bool = False,
) -> nn.Module:
    """One block of the network."""
    mixer = SlidingAttention(
        place.dim,
        place.heads,
        odd_kernel(kernel_size),
        position_bias=position_bias,
        projection_norm=norm if projection_norm else None,
    )
    return PreNormBlock(place, mixer, norm, se)
