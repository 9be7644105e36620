"""The two block skeletons of the paper, each around any module that mixes neighbours.

Both take and give maps of tokens, (B, H, W, C). A contiguous map of tokens seen as (B, C, H, W) is
a channels_last image, so that convolutions and token layers share one memory and nothing is copied
between them.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.network.layers import (
    DropPath,
    Mlp,
    Norm,
    PointConv,
    SqueezeExcitation,
    make_norm,
    norm_map,
    norm_tokens,
    pad_map,
)
from models.network.spec import BlockConfig, Switches, declared_switches


class PreNormBlock(nn.Module):
    """Transformer block: x + mixer(norm(x)), then x + Mlp(norm(x)) (official Swin, where the norms
    are LN).
    """

    def __init__(
        self, place: BlockConfig, mixer: nn.Module, norm: Norm = "ln", se: bool = False
    ) -> None:
        """`mixer` maps (B, H, W, C) to the same shape; `se` adds squeeze-and-excitation to what it
        gives.
        """
        super().__init__()
        self.norm1 = make_norm(norm, place.dim)
        self.mixer = mixer
        self.se = SqueezeExcitation(place.dim) if se else nn.Identity()
        self.norm2 = make_norm(norm, place.dim)
        self.mlp = Mlp(place.dim, place.mlp_ratio)
        self.drop_path = DropPath(place.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.se(self.mixer(norm_tokens(self.norm1, x))))
        out: Tensor = x + self.drop_path(self.mlp(norm_tokens(self.norm2, x)))
        return out

    def norm_macs(self, x: Tensor) -> int:
        """Return what the official counter takes for the norms: 1 a value each."""
        return 2 * x.numel()


class PointwiseSandwich(nn.Module):
    """A spatial operator between two 1x1 convolutions, with BatchNorm and ReLU as in the official
    DWBlock.

    conv, BN, ReLU, operator, BN, ReLU, conv, BN: the two convolutions stand where attention has its
    value and output projections (paper, section 1.2). Without the norms the ReLUs go too and the
    convolutions get
    biases: what is left are Swin's value projection, the operator and Swin's output projection.
    """

    def __init__(
        self, dim: int, spatial: nn.Module, norm: Norm = "bn", projection_norm: bool = True
    ) -> None:
        """`spatial` maps (B, C, H, W) to the same shape and declares its `switches`."""
        super().__init__()
        bare = not projection_norm
        self.conv_in = PointConv(dim, dim, bias=bare)
        self.bn_in = nn.Identity() if bare else make_norm(norm, dim)
        self.spatial = spatial
        self.bn_mid = nn.Identity() if bare else make_norm(norm, dim)
        self.conv_out = PointConv(dim, dim, bias=bare)
        self.bn_out = nn.Identity() if bare else make_norm(norm, dim)
        self.act = nn.Identity() if bare else nn.ReLU(inplace=True)

    @property
    def switches(self) -> Switches:
        """Those of the spatial operator; the rest works on each position alone."""
        return declared_switches(self.spatial)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.act(norm_map(self.bn_in, self.conv_in(x)))
        x = self.act(norm_map(self.bn_mid, self.spatial(x)))
        return norm_map(self.bn_out, self.conv_out(x))


class DepthwiseBlock(nn.Module):
    """Block of the depth-wise networks: x + sandwich(x), then x + Mlp(BN(x)) (paper, section 1.2).

    The norms inside the sandwich make one in front of it superfluous; without them
    (`projection_norm=False`) it gets one, as in Swin's block.
    """

    def __init__(
        self,
        place: BlockConfig,
        spatial: nn.Module,
        norm: Norm = "bn",
        projection_norm: bool = True,
        se: bool = False,
    ) -> None:
        """`spatial` is the operator in the middle of the sandwich, on (B, C, H, W); `norm` the kind
        of all norms.
        """
        super().__init__()
        self.bn_front = nn.Identity() if projection_norm else make_norm(norm, place.dim)
        self.mixer = PointwiseSandwich(place.dim, spatial, norm, projection_norm)
        self.se = SqueezeExcitation(place.dim) if se else nn.Identity()
        self.bn = make_norm(norm, place.dim)
        self.mlp = Mlp(place.dim, place.mlp_ratio)
        self.drop_path = DropPath(place.drop_path)
        self.pad_to = place.pad_to
        self.projection_norm = projection_norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self.se(self._mix(norm_tokens(self.bn_front, x))))
        out: Tensor = x + self.drop_path(self.mlp(norm_tokens(self.bn, x)))
        return out

    def _mix(self, x: Tensor) -> Tensor:
        """Return the sandwich on the map, filled up with zeros first and cut back afterwards where
        `pad_to` asks for it.
        """
        height, width = x.shape[1:3]
        mixed: Tensor = self.mixer(pad_map(x, self.pad_to).permute(0, 3, 1, 2))
        return mixed[:, :, :height, :width].permute(0, 2, 3, 1)

    def norm_macs(self, x: Tensor) -> int:
        """Return what the official counter takes for norms and the sandwich's activations.

        1 a value for each of two norms, one of which the official block does not have but its
        counter kept from Swin, and 8 a value for what stands inside the sandwich.
        """
        return (10 if self.projection_norm else 2) * x.numel()
