"""Locally connected layer: the depth-wise network with a kernel of its own at every position, for
all images the same.

The paper's "DW conv." without sharing over positions; no code of it was released. The weights
belong to one map size, that of the `image_size` which the network is built for.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from models.aggregate import aggregate
from models.network.blocks import DepthwiseBlock
from models.network.layers import Norm
from models.network.options import odd_kernel, only_map_size, resolve_groups
from models.network.spec import BlockConfig, Switches, sharing

SWITCHES = Switches(
    neighbourhood="sliding", shared_positions=False, shared_channels="no", dynamic=False
)


class StaticPositionwise(nn.Module):
    """K x K kernels for each position and each of G groups of channels, and one bias a channel."""

    def __init__(self, place: BlockConfig, kernel_size: int, groups: int) -> None:
        """Each kernel starts as that of a depth-wise `Conv2d`."""
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(groups, place.dim))
        self.image_size = place.image_size
        height, width = (-(-side // place.pad_to) * place.pad_to for side in place.map_size)
        self.weight = nn.Parameter(torch.empty(groups, kernel_size * kernel_size, height, width))
        self.bias = nn.Parameter(torch.empty(place.dim))

        bound = 1 / sqrt(kernel_size * kernel_size)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W).

        Raises:
            ValueError: a map of another size than the one it was built for.
        """
        only_map_size("locally_connected", x.shape[2:], self.weight.shape[2:], self.image_size)
        return aggregate(x, self.weight.unsqueeze(0), self.bias)

    def extra_macs(self, x: Tensor) -> int:
        """Return the sum over the taps."""
        return x.numel() * self.weight.shape[1]


def block(
    place: BlockConfig,
    *,
    kernel_size: int = 7,
    groups: int | None = None,
    group_channels: int | None = None,
    norm: Norm = "bn",
    projection_norm: bool = True,
    se: bool = False,
) -> nn.Module:
    """One block; without `groups` or `group_channels` every channel has its own kernels."""
    number = resolve_groups(place.dim, groups, group_channels, default=place.dim)
    spatial = StaticPositionwise(place, odd_kernel(kernel_size), number)
    return DepthwiseBlock(place, spatial, norm, projection_norm, se)
