"""Static depth-wise convolution ("DW Conv." of the paper, section 1.3): one learned kernel a
channel.

With fewer `groups` than channels a group shares one kernel; with `kernel_size=1` nothing is mixed
at all, the control for sparse connectivity.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor, nn

from models.aggregate import aggregate
from models.network.blocks import DepthwiseBlock
from models.network.layers import Norm
from models.network.options import odd_kernel, resolve_groups
from models.network.spec import BlockConfig, Switches, sharing

SWITCHES = Switches(
    neighbourhood="sliding", shared_positions=True, shared_channels="no", dynamic=False
)


class StaticDepthwise(nn.Module):
    """K x K kernels that are the same everywhere and for all images, one for each of G groups of
    channels.
    """

    def __init__(self, dim: int, kernel_size: int, groups: int) -> None:
        """Weights and bias start as those of a depth-wise `Conv2d`."""
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(groups, dim))
        self.weight = nn.Parameter(torch.empty(groups, 1, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(dim))
        nn.init.kaiming_uniform_(self.weight, a=sqrt(5))
        nn.init.uniform_(self.bias, -1 / kernel_size, 1 / kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return aggregate(x, self.weight.view(1, self.weight.shape[0], -1, 1, 1), self.bias)

    def extra_macs(self, x: Tensor) -> int:
        """Return the sum over the taps."""
        return x.numel() * self.weight[0].numel()


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
    """One block; without `groups` or `group_channels` every channel has its own kernel."""
    number = resolve_groups(place.dim, groups, group_channels, default=place.dim)
    spatial = StaticDepthwise(place.dim, odd_kernel(kernel_size), number)
    return DepthwiseBlock(place, spatial, norm, projection_norm, se)
