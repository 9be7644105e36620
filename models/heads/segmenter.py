"""UPerNet (arXiv 1807.10221) with an auxiliary head, and their loss, as mmsegmentation 0.11 builds
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from models.heads.settings import UPerNetSettings

IGNORED = 255
NormedConv = partial(Conv2dNormActivation, norm_layer=nn.BatchNorm2d)
"""Convolution, batch norm, ReLU; the map keeps its size."""

resize = partial(F.interpolate, mode="bilinear", align_corners=False)


class PixelClassifier(nn.Sequential):
    """Dropout of channels, then a 1x1 convolution to the classes."""

    def __init__(self, channels: int, num_classes: int, dropout: float) -> None:
        """(B, channels, H, W) -> (B, num_classes, H, W)."""
        conv = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.constant_(conv.bias, 0.0)  # type: ignore[arg-type]
        super().__init__(nn.Dropout2d(dropout), conv)


class PyramidPooling(nn.Module):
    """The map beside its means over grids of several sizes (arXiv 1612.01105)."""

    def __init__(self, in_channels: int, channels: int, scales: Sequence[int]) -> None:
        """`scales` are the sides of the grids."""
        super().__init__()
        self.grids = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), NormedConv(in_channels, channels, 1))
            for scale in scales
        )
        self.join = NormedConv(in_channels + len(scales) * channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H, W)."""
        pooled = [resize(grid(x), size=x.shape[2:]) for grid in self.grids]
        joined: Tensor = self.join(torch.cat([x, *pooled], dim=1))
        return joined


class UPerHead(nn.Module):
    """Pyramid pooling on the last map, a feature pyramid above it, and all of its levels joined."""

    def __init__(
        self, in_channels: Sequence[int], num_classes: int, settings: UPerNetSettings
    ) -> None:
        """`in_channels` are those of the four maps."""
        super().__init__()
        width = settings.channels
        self.pooling = PyramidPooling(in_channels[-1], width, settings.pool_scales)
        self.lateral = nn.ModuleList(
            NormedConv(channels, width, 1) for channels in in_channels[:-1]
        )
        self.levels = nn.ModuleList(NormedConv(width, width, 3) for _ in in_channels[:-1])
        self.join = NormedConv(len(in_channels) * width, width, 3)
        self.classify = PixelClassifier(width, num_classes, settings.dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Four (B, C_i, H_i, W_i) -> logits (B, num_classes, H_0, W_0)."""
        top = self.pooling(maps[-1])
        joined = [top]
        for lateral, level, values in reversed(
            list(zip(self.lateral, self.levels, maps[:-1], strict=True))
        ):
            top = lateral(values) + resize(top, size=values.shape[2:])
            joined.insert(0, level(top))

        size = joined[0].shape[2:]
        levels = [joined[0], *(resize(level, size=size) for level in joined[1:])]
        logits: Tensor = self.classify(self.join(torch.cat(levels, dim=1)))
        return logits


class Segmenter(nn.Module):
    """Gives every position of an image a class."""

    def __init__(self, backbone: nn.Module, num_classes: int, settings: UPerNetSettings) -> None:
        """`backbone` gives four maps at strides 4 to 32 and has `channels`."""
        super().__init__()
        self.backbone = backbone
        channels: Sequence[int] = backbone.channels  # type: ignore[assignment]
        width = settings.auxiliary_channels

        convs = [
            NormedConv(channels[2] if i == 0 else width, width, 3)
            for i in range(settings.auxiliary_convs)
        ]
        self.head = UPerHead(channels, num_classes, settings)
        self.auxiliary = nn.Sequential(
            *convs, PixelClassifier(width, num_classes, settings.dropout)
        )

        for heads in (self.head, self.auxiliary):
            heads.apply(_init_normed_conv)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images (B, 3, H, W), normalised, to logits (B, num_classes, H/4, W/4), sides rounded up.

        In training mode a mapping: these `logits`, and `auxiliary` (B, num_classes, H/16, W/16).
        """
        maps = self.backbone(images)
        logits: Tensor = self.head(maps)
        return {"logits": logits, "auxiliary": self.auxiliary(maps[2])} if self.training else logits


def segmentation_loss(
    outputs: Mapping[str, Tensor] | Tensor, labels: Tensor, auxiliary_weight: float = 0.4
) -> Tensor:
    """Cross-entropy at the size of the labels, float32 also under autocast.

    The mean is over all pixels: ignored ones add nothing to the sum but count in its divisor.

    Args:
        outputs: what a `Segmenter` gives, in training or eval mode.
        labels: (B, H, W) int64, 255 to ignore.
        auxiliary_weight: what the loss of the auxiliary logits counts.

    Returns:
        A scalar, 0 if all pixels are ignored.
    """
    if isinstance(outputs, Tensor):
        return _cross_entropy(outputs, labels)
    return _cross_entropy(outputs["logits"], labels) + auxiliary_weight * _cross_entropy(
        outputs["auxiliary"], labels
    )


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    full = resize(logits.float(), size=labels.shape[1:])
    return F.cross_entropy(full, labels, ignore_index=IGNORED, reduction="sum") / labels.numel()


def _init_normed_conv(module: nn.Module) -> None:
    if isinstance(module, Conv2dNormActivation):
        nn.init.kaiming_normal_(module[0].weight, mode="fan_out", nonlinearity="relu")
