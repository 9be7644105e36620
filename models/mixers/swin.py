"""Local attention in shifted windows (Swin Transformer; "local attention" of the paper, section
1.3).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from models.network.blocks import PreNormBlock
from models.network.layers import Norm, make_norm, norm_tokens, pad_map
from models.network.options import head_channels, heads_of, odd_kernel
from models.network.spec import BlockConfig, Switches, sharing
from models.network.windows import cut, join, relative_index, shift_mask, window_of

SWITCHES = Switches(
    neighbourhood="window", shared_positions=False, shared_channels="groups", dynamic=True
)
ATTENTION = True


class WindowAttention(nn.Module):
    """Multi-head attention inside windows of K x K tokens, with a learned bias for every relative
    offset.

    A map that K does not divide is filled up with zeros, which take part as official Swin lets
    them. A map with a side of K or less is cut into windows as long as that side, and not shifted,
    unless they may not shrink.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        shifted: bool,
        *,
        shrink: bool = True,
        position_bias: bool = True,
        projection_norm: Norm | None = None,
    ) -> None:
        """`dim` is C, `shifted` moves the windows by half their length.

        Without `shrink` windows keep their size on smaller maps.
        `projection_norm` puts a norm of that kind behind both projections.

        Raises:
            ValueError: `heads` does not divide C.
        """
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(heads, dim))
        self.dim = dim
        self.heads = heads
        self.window = window
        self.shifted = shifted
        self.shrink = shrink
        self.scale = head_channels(dim, heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.softmax = nn.Softmax(dim=-1)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = None
        if position_bias:
            self.relative_position_bias_table = nn.Parameter(
                torch.zeros((2 * window - 1) ** 2, heads)
            )
            nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

        self.qkv_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, 3 * dim)
        )
        self.proj_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        height, width = x.shape[1:3]
        window, shift = window_of(height, width, self.window, self.shifted, self.shrink)
        x = pad_map(x, window)
        padded = (x.shape[1], x.shape[2])
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        x = join(self._attend(cut(x, window), window, shift, padded), padded)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width].contiguous()

    def _attend(self, x: Tensor, window: int, shift: int, padded: tuple[int, int]) -> Tensor:
        """(B, windows, tokens, C) -> the same shape."""
        batch, windows, tokens, _ = x.shape
        qkv = norm_tokens(self.qkv_norm, self.qkv(x)).reshape(
            batch, windows, tokens, 3, self.heads, -1
        )
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)

        scores = (query * self.scale) @ key.transpose(-2, -1)
        scores = scores + self._bias(window, shift, padded, scores)
        mixed = (self.softmax(scores) @ value).transpose(2, 3).flatten(3)
        return norm_tokens(self.proj_norm, self.proj(mixed))

    def _bias(self, window: int, shift: int, padded: tuple[int, int], scores: Tensor) -> Tensor:
        """Return what is added to the scores: (1 or windows, 1 or heads, 1 or tokens, 1 or
        tokens).
        """
        bias = scores.new_zeros(1, 1, 1, 1)
        if (table := self.relative_position_bias_table) is not None:
            index = relative_index(window, self.window, scores.device)
            bias = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1).unsqueeze(0)
        if shift:
            bias = bias + shift_mask(*padded, window, shift, scores.device).unsqueeze(1)
        return bias.to(scores.dtype)

    def extra_macs(self, x: Tensor) -> int:
        """Return the two products of attention, scores and weighted sum, on the map filled up to
        whole windows.
        """
        batch, height, width, _ = x.shape
        window, _ = window_of(height, width, self.window, self.shifted, self.shrink)
        tokens = (height + -height % window) * (width + -width % window)
        return 2 * batch * tokens * window * window * self.dim


def block(
    place: BlockConfig,
    *,
    kernel_size: int = 7,
    group_channels: int | None = None,
    shift: bool = True,
    position_bias: bool = True,
    norm: Norm = "ln",
    projection_norm: bool = False,
    se: bool = False,
) -> nn.Module:
    """One block; `kernel_size` is the side of the window, and every second block of a stage shifts
    it.

    `group_channels` is the channels of a head; without it there are as many heads as the size has.
    """
    mixer = WindowAttention(
        place.dim,
        heads_of(place, group_channels),
        odd_kernel(kernel_size),
        shifted=shift and place.index % 2 == 1,
        shrink=place.shrink_windows,
        position_bias=position_bias,
        projection_norm=norm if projection_norm else None,
    )
    return PreNormBlock(place, mixer, norm, se)
