"""Homogeneous dynamic depth-wise convolution ("D-DW Conv." of the paper, section 1.3).

Every image has its own kernels, predicted from the mean of its map; they are the same at all
positions.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from models.aggregate import aggregate
from models.network.blocks import DepthwiseBlock
from models.network.layers import Norm, PointConv
from models.network.options import odd_kernel, resolve_groups
from models.network.spec import BlockConfig, Switches, sharing

SWITCHES = Switches(
    neighbourhood="sliding", shared_positions=True, shared_channels="no", dynamic=True
)
SQUEEZE = 4


class ImageDepthwise(nn.Module):
    """Predicts one K x K kernel a group of channels and image, C -> C/4 -> G*K*K, and applies it.

    The kernels are used as predicted, without a softmax or another norm; the bias is learned and
    the same for all images (official code).
    """

    def __init__(self, dim: int, kernel_size: int, groups: int) -> None:
        """`dim` is C, `groups` is C in the official network; the bias starts at 0."""
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(groups, dim))
        self.groups = groups
        self.taps = kernel_size * kernel_size
        self.squeeze = PointConv(dim, dim // SQUEEZE)
        self.bn = nn.BatchNorm2d(dim // SQUEEZE)
        self.act = nn.ReLU(inplace=True)
        self.expand = PointConv(dim // SQUEEZE, groups * self.taps, bias=True)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        kernels = self.expand(self.act(self.bn(self.squeeze(mean))))
        return aggregate(x, kernels.reshape(x.shape[0], self.groups, self.taps, 1, 1), self.bias)

    def extra_macs(self, x: Tensor) -> int:
        """Return the mean over the map and the sum over the taps."""
        return x.numel() * (1 + self.taps)


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
    """One block; without `groups` or `group_channels` every channel has its own kernel, as in the
    official network.
    """
    number = resolve_groups(place.dim, groups, group_channels, default=place.dim)
    spatial = ImageDepthwise(place.dim, odd_kernel(kernel_size), number)
    return DepthwiseBlock(place, spatial, norm, projection_norm, se)
