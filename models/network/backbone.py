"""Stem, stages, patch merging and classification head around any mixer (paper, section 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.network.layers import Norm, init_linear_and_norm, make_norm, norm_tokens, pad_map
from models.network.sizes import MEAN, SIZES, STD
from models.network.spec import BlockConfig, Switches, declared_switches

PATCH = 4
CROP_SHARE = 0.875
"""The side of the crop that is evaluated, over the short side of the image (224 of 256 pixels)."""

Remainder = Literal["cut", "pad"]
"""What becomes of the last rows and columns of an image whose sides 4 does not divide: left out, or
filled up.
"""


@dataclass(frozen=True)
class Layout:
    """The numbers of one network: widths, depths, heads and rates; `image_size` is (H, W) in
    pixels.

    `output_norm` (`ln`, `bn` or None), `pad_to`, `shrink_windows` and `remainder` are what the
    authors' and Swin's downstream backbones do differently (paper, section 4.5): theirs fill up an
    image whose sides 4 does not divide, their classifiers cut it.
    """

    size: str
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    drop_path_rate: float
    mlp_ratio: float
    image_size: tuple[int, int]
    output_norm: Norm | None = None
    pad_to: int = 1
    shrink_windows: bool = True
    remainder: Remainder = "pad"

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels of every stage: each has twice those of the one before."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.depths)))

    def places(self) -> list[list[BlockConfig]]:
        """One `Place` a block, by stages; drop path grows linearly from 0 to its rate over all
        blocks.
        """
        rates = iter(
            torch.linspace(0, self.drop_path_rate, sum(self.depths), device="cpu").tolist()
        )

        return [
            [
                BlockConfig(
                    size=self.size,
                    stage=stage,
                    index=index,
                    dim=self.dims[stage],
                    heads=self.num_heads[stage],
                    mlp_ratio=self.mlp_ratio,
                    drop_path=next(rates),
                    map_size=self._map_size(stage),
                    image_size=self.image_size,
                    pad_to=self.pad_to,
                    shrink_windows=self.shrink_windows,
                )
                for index in range(depth)
            ]
            for stage, depth in enumerate(self.depths)
        ]

    def _map_size(self, stage: int) -> tuple[int, int]:
        over = PATCH - 1 if self.remainder == "pad" else 0
        height, width = (-(-((side + over) // PATCH) // 2**stage) for side in self.image_size)
        return height, width


class Stem(nn.Module):
    """Cuts an image into 4x4 patches and embeds each: Conv2d with kernel and stride 4, then
    LayerNorm.
    """

    def __init__(self, dim: int, remainder: Remainder = "pad") -> None:
        """`dim` is the number of channels C of the first stage."""
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)
        self.remainder = remainder

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, ceil(H/4), ceil(W/4), C) with zeros in the last patches, or rounded
        down without them.
        """
        bottom = -images.shape[2] % PATCH
        right = -images.shape[3] % PATCH
        if self.remainder == "pad" and (bottom or right):
            images = nn.functional.pad(images, (0, right, 0, bottom))
        tokens = self.proj(images.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)
        out: Tensor = self.norm(tokens.contiguous())
        return out


class PatchMerging(nn.Module):
    """Halves a map and doubles its channels: 2x2 neighbours side by side, LayerNorm, Linear 4C ->
    2C.
    """

    def __init__(self, dim: int) -> None:
        """`dim` is C of the incoming map."""
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C); an odd map gets a last row or column of
        zeros.
        """
        x = pad_map(x, 2)
        batch, height, width, channels = x.shape
        cells = x.view(batch, height // 2, 2, width // 2, 2, channels)

        # Column parity before row parity: the order in which the official weights expect the four
        # neighbours.
        rows = cells.permute(0, 1, 3, 4, 2, 5).reshape(batch, height // 2, width // 2, 4 * channels)
        out: Tensor = self.reduction(self.norm(rows))
        return out


class Stage(nn.Module):
    """Patch merging (in all stages but the first), then the blocks."""

    def __init__(self, merge: nn.Module | None, blocks: Sequence[nn.Module]) -> None:
        """`merge` is None in the first stage."""
        super().__init__()
        self.merge = merge
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H', W', C'), halved and doubled where there is a merge."""
        if self.merge is not None:
            x = self.merge(x)
        for block in self.blocks:
            x = block(x)
        return x


class Backbone(nn.Module):
    """Images (B, 3, H, W) to four feature maps (B, C_i, ceil(H/4)/2^i, ceil(W/4)/2^i), rounded up.

    Where the layout cuts the remainder, H/4 and W/4 are rounded down.

    The maps are the stages' outputs as they are, or each through a norm of its own where the layout
    has an `output_norm`.

    Attributes:
        layout: the numbers that it was built from.
        channels: C_i of the four maps.
        switches: what the mixer declares about itself with the options given.
    """

    def __init__(self, layout: Layout, block: Callable[[BlockConfig], nn.Module]) -> None:
        """`block` builds the block for a place; parameters are drawn from torch's global
        generator.
        """
        super().__init__()
        self.layout = layout
        self.channels = layout.dims
        self.stem = Stem(layout.embed_dim, layout.remainder)

        stages = []
        for number, places in enumerate(layout.places()):
            merge = PatchMerging(layout.dims[number - 1]) if number else None
            stages.append(Stage(merge, [block(place) for place in places]))
        self.stages = nn.ModuleList(stages)

        if layout.output_norm is not None:
            self.output_norms = nn.ModuleList(
                make_norm(layout.output_norm, dim) for dim in layout.dims
            )
        self.apply(partial(init_linear_and_norm, linear_std=SIZES[layout.size].linear_std))

    @property
    def switches(self) -> Switches:
        """What the mixer of its blocks declares."""
        return declared_switches(self.stages)

    def tokens(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the four maps as tokens, (B, H_i, W_i, C_i)."""
        x: Tensor = self.stem(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps (B, C_i, H_i, W_i), channels_last in memory."""
        maps = self.tokens(images)
        if self.layout.output_norm is not None:
            maps = [
                norm_tokens(norm, tokens)
                for norm, tokens in zip(self.output_norms, maps, strict=True)
            ]
        return [tokens.permute(0, 3, 1, 2) for tokens in maps]


class Classifier(nn.Module):
    """Backbone, LayerNorm on the last map's tokens, mean over them, Linear to the classes.

    Its interface is that of timm's models.

    Attributes:
        feature_info: channels, stride and module of each of the four maps.
        pretrained_cfg: the images that it takes and the names of its first and last layer, in
            timm's words; `default_cfg` is the same.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        """`num_classes` is the length of the logits; 0 leaves the head out.

        Raises:
            ValueError: the backbone has output norms, which only its maps pass through.
        """
        super().__init__()
        if backbone.layout.output_norm is not None:
            raise ValueError("output_norm is for feature maps: a classifier has a norm of its own")

        self.backbone = backbone
        self.norm = nn.LayerNorm(backbone.channels[-1])
        self.reset_classifier(num_classes)

        self.feature_info = [
            {
                "num_chs": channels,
                "reduction": PATCH * 2**stage,
                "module": f"backbone.stages.{stage}",
            }
            for stage, channels in enumerate(backbone.channels)
        ]
        self.pretrained_cfg = self.default_cfg = image_cfg(backbone.layout.image_size, num_classes)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh head in the place of the old one, none at all for 0 classes; `global_pool` is
        what timm hands over, and tokens are always averaged.
        """
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        linear_std = SIZES[self.backbone.layout.size].linear_std
        self.head.apply(partial(init_linear_and_norm, linear_std=linear_std))

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    @property
    def num_features(self) -> int:
        """Channels of the last map, which are what the head sees."""
        return self.backbone.channels[-1]

    @property
    def switches(self) -> Switches:
        """Those of the backbone."""
        return self.backbone.switches

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the last map's tokens behind their norm, (B, H', W', C)."""
        tokens: Tensor = self.norm(self.backbone.tokens(images)[-1])
        return tokens

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, H', W', C) -> logits (B, num_classes); with `pre_logits` the means (B, C)."""
        means = tokens.mean(dim=(1, 2))
        return means if pre_logits else self.head(means)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """(B, 3, H, W) -> maps (B, C_i, H_i, W_i), and the last map's tokens in front of them.

        Args:
            images: normalised.
            indices: which maps, or how many of the last; None is all four.
            norm: whether the last map goes through the norm.
            output_fmt: as timm calls channels on the second axis; there is no other.
            intermediates_only: whether the tokens are left out.
        """
        maps = self.backbone.tokens(images)
        tokens = self.norm(maps[-1])
        if norm:
            maps[-1] = tokens

        stages = list(range(len(maps)))
        numbers = stages[-indices:] if isinstance(indices, int) else indices or stages
        chosen = [maps[stage].permute(0, 3, 1, 2) for stage in numbers]
        return chosen if intermediates_only else (tokens, chosen)


def image_cfg(image_size: tuple[int, int], num_classes: int) -> dict[str, Any]:
    """Return what timm wants to know of a classifier's images (height, width) and layers."""
    return {
        "input_size": (3, *image_size),
        "interpolation": "bicubic",
        "crop_pct": CROP_SHARE,
        "crop_mode": "center",
        "mean": MEAN,
        "std": STD,
        "num_classes": num_classes,
        "first_conv": "backbone.stem.proj",
        "classifier": "head",
    }
