"""The two block skeletons of the paper, each around any module that mixes neighbours.

Both take and give maps of tokens, (B, H, W, C). A contiguous map of tokens seen as (B, C, H, W) is a
channels_last image, so that convolutions and token layers share one memory and nothing is copied between
them.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.layers import DropPath, Mlp, PointConv, TokenBatchNorm
from models.spec import Place, Switches, declared_switches


class PreNormBlock(nn.Module):
    """Transformer block: x + mixer(LN(x)), then x + Mlp(LN(x)) (official Swin)."""

    def __init__(self, place: Place, mixer: nn.Module) -> None:
        """`mixer` maps (B, H, W, C) to the same shape."""
        super().__init__()
        self.norm1 = nn.LayerNorm(place.dim)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(place.dim)
        self.mlp = Mlp(place.dim, place.mlp_ratio)
        self.drop_path = DropPath(place.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PointwiseSandwich(nn.Module):
    """A spatial operator between two 1x1 convolutions, with BatchNorm and ReLU as in the official DWBlock.

    conv, BN, ReLU, operator, BN, ReLU, conv, BN: the two convolutions stand where attention has its value
    and output projections, and nothing is normalised before the first (paper, section 1.2).
    """

    def __init__(self, dim: int, spatial: nn.Module) -> None:
        """`spatial` maps (B, C, H, W) to the same shape and declares its `switches`."""
        super().__init__()
        self.conv_in = PointConv(dim, dim)
        self.bn_in = nn.BatchNorm2d(dim)
        self.spatial = spatial
        self.bn_mid = nn.BatchNorm2d(dim)
        self.conv_out = PointConv(dim, dim)
        self.bn_out = nn.BatchNorm2d(dim)
        self.act = nn.ReLU(inplace=True)

    @property
    def switches(self) -> Switches:
        """Those of the spatial operator; the rest works on each position alone."""
        return declared_switches(self.spatial)

    def extra_macs(self, x: Tensor) -> int:
        """What the official counter adds here; the convolutions and the operator count their own.

        It is 8 a value for three norms and two activations, and 1 for a norm in front, which this block
        does not have but the counter kept from Swin.
        """
        return 9 * x.numel()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.act(self.bn_in(self.conv_in(x)))
        x = self.act(self.bn_mid(self.spatial(x)))
        out: Tensor = self.bn_out(self.conv_out(x))
        return out


class DepthwiseBlock(nn.Module):
    """Block of the depth-wise networks: x + sandwich(x), then x + Mlp(BN(x)) (paper, section 1.2)."""

    def __init__(self, place: Place, spatial: nn.Module) -> None:
        """`spatial` is the operator in the middle of the sandwich, on (B, C, H, W)."""
        super().__init__()
        self.mixer = PointwiseSandwich(place.dim, spatial)
        self.bn = TokenBatchNorm(place.dim)
        self.mlp = Mlp(place.dim, place.mlp_ratio)
        self.drop_path = DropPath(place.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        mixed = self.mixer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.drop_path(mixed)
        out: Tensor = x + self.drop_path(self.mlp(self.bn(x)))
        return out
