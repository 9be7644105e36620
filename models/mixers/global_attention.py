"""Global attention: every position sees the whole map (the paper's ViT row, in this backbone).

Swin's attention without windows. Position enters as in Swin, by a bias for every offset; no network
of this kind was trained by the authors.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from models.network.blocks import PreNormBlock
from models.network.layers import Norm, make_norm, norm_tokens
from models.network.options import head_channels, heads_of
from models.network.spec import BlockConfig, Switches, sharing

SWITCHES = Switches(
    neighbourhood="global", shared_positions=False, shared_channels="groups", dynamic=True
)
ATTENTION = True


class GlobalAttention(nn.Module):
    """Multi-head attention over all tokens of the map, with a learned bias for every relative
    offset.

    The table of biases reaches over the map that the network is built for; offsets on a larger map
    that lie beyond it use its edge (clipped relative positions, arXiv 1803.02155), so that any map
    is taken.
    """

    def __init__(
        self,
        place: BlockConfig,
        heads: int,
        *,
        position_bias: bool = True,
        projection_norm: Norm | None = None,
    ) -> None:
        """`projection_norm` puts a norm of that kind behind both projections.

        Raises:
            ValueError: the heads do not divide C.
        """
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(heads, place.dim))
        self.heads = heads
        self.reach = tuple(side - 1 for side in place.map_size)
        self.scale = head_channels(place.dim, heads) ** -0.5
        self.qkv = nn.Linear(place.dim, 3 * place.dim)
        self.softmax = nn.Softmax(dim=-1)
        self.proj = nn.Linear(place.dim, place.dim)
        self.relative_position_bias_table = None

        if position_bias:
            rows, columns = (2 * reach + 1 for reach in self.reach)
            self.relative_position_bias_table = nn.Parameter(torch.empty(rows, columns, heads))
            nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

        self.qkv_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, 3 * place.dim)
        )
        self.proj_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, place.dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        height, width = x.shape[1:3]
        qkv = (
            norm_tokens(self.qkv_norm, self.qkv(x)).flatten(1, 2).unflatten(2, (3, self.heads, -1))
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (query * self.scale) @ key.transpose(-2, -1)
        if self.relative_position_bias_table is not None:
            scores = scores + self._bias(self.relative_position_bias_table, height, width).to(
                scores.dtype
            )

        mixed = (self.softmax(scores).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return norm_tokens(self.proj_norm, self.proj(mixed.unflatten(1, (height, width))))

    def _bias(self, table: Tensor, height: int, width: int) -> Tensor:
        """Return what is added to the scores: (heads, tokens, tokens)."""
        down, right = (
            _offsets(length, reach, table.device)
            for length, reach in zip((height, width), self.reach, strict=True)
        )
        pairs = table[down[:, None, :, None], right[None, :, None, :]]
        return pairs.permute(4, 0, 1, 2, 3).reshape(self.heads, height * width, height * width)

    def extra_macs(self, x: Tensor) -> int:
        """Return the two products of attention, scores and weighted sum."""
        return 2 * x.numel() * x.shape[1] * x.shape[2]


def _offsets(length: int, reach: int, device: torch.device) -> Tensor:
    """Row of the table for each pair of positions on an axis, (length, length)."""
    line = torch.arange(length, device=device)
    return (line[:, None] - line[None, :]).clamp(-reach, reach) + reach


def block(
    place: BlockConfig,
    *,
    group_channels: int | None = None,
    position_bias: bool = True,
    norm: Norm = "ln",
    projection_norm: bool = False,
    se: bool = False,
) -> nn.Module:
    """One block; `group_channels` is the channels of a head, without it there are as many heads as
    the size has.
    """
    mixer = GlobalAttention(
        place,
        heads_of(place, group_channels),
        position_bias=position_bias,
        projection_norm=norm if projection_norm else None,
    )
    return PreNormBlock(place, mixer, norm, se)
