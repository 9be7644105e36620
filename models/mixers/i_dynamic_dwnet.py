"""Inhomogeneous dynamic depth-wise convolution ("I-D-DW Conv." of the paper, section 1.3;
involution-like).

Every position of every image has its own kernels, predicted from the position itself and shared by
the channels of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from torch import Tensor, nn

from models.aggregate import aggregate_predicted
from models.network.blocks import DepthwiseBlock
from models.network.layers import Norm, PointConv
from models.network.options import odd_kernel, resolve_groups
from models.network.spec import BlockConfig, Switches, sharing

SWITCHES = Switches(
    neighbourhood="sliding", shared_positions=False, shared_channels="groups", dynamic=True
)
SQUEEZE = 4
GROUPS = 32
"""Groups in every stage of every size: the official configuration gives C / heads, which is 32
throughout.
"""
GROUPS_OF_SIZE: Mapping[str, int] = MappingProxyType({"micro": 8})


class PositionDepthwise(nn.Module):
    """Predicts K x K kernels for each position and group, C -> C/4 -> G*K*K; they have no bias."""

    def __init__(self, dim: int, kernel_size: int, groups: int) -> None:
        """`dim` is C; each of the `groups` is a contiguous range of C / G channels."""
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(groups, dim))
        self.groups = groups
        self.taps = kernel_size * kernel_size
        self.squeeze = PointConv(dim, dim // SQUEEZE, bias=True)
        self.bn = nn.BatchNorm2d(dim // SQUEEZE)
        self.act = nn.ReLU(inplace=True)
        self.expand = PointConv(dim // SQUEEZE, groups * self.taps, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        features = self.act(self.bn(self.squeeze(x)))
        projection = self.expand.weight.flatten(1)
        bias = self.expand.bias
        assert bias is not None
        return aggregate_predicted(x, features, projection, bias, self.groups)

    def extra_macs(self, x: Tensor) -> int:
        """Return the sum over the taps, and the last projection, which is done inside it."""
        positions = x.numel() // x.shape[1]
        return x.numel() * self.taps + positions * self.expand.weight.numel()


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
    """One block; `groups` is the number of kernels a position, `group_channels` says the same as C
    / groups.
    """
    number = resolve_groups(
        place.dim, groups, group_channels, GROUPS_OF_SIZE.get(place.size, GROUPS)
    )
    spatial = PositionDepthwise(place.dim, odd_kernel(kernel_size), number)
    return DepthwiseBlock(place, spatial, norm, projection_norm, se)
