"""The depth-wise networks in the form of their authors' code, with the weights of this project's.

Tokens are (B, L, C); each block copies them to NCHW for its convolutions and back. Kernels of an
image are applied by a grouped convolution with the batch in its groups, kernels of a position to
windows that `F.unfold` writes out.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AuthorsForm(nn.Module):
    """A classifier of `models.create_model`, computed as its authors compute it."""

    def __init__(self, model: nn.Module) -> None:
        """`model` is a static, dynamic or inhomogeneous depth-wise network; it is copied."""
        super().__init__()
        self.model: Any = copy.deepcopy(model)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes)."""
        backbone = self.model.backbone
        maps = backbone.stem.proj(images)
        side = maps.shape[2]
        tokens = backbone.stem.norm(maps.flatten(2).transpose(1, 2))
        for stage in backbone.stages:
            if stage.merge is not None:
                tokens = merged(stage.merge, tokens, side)
                side //= 2
            for block in stage.blocks:
                tokens = blocked(block, tokens, side)
        pooled = F.adaptive_avg_pool1d(self.model.norm(tokens).transpose(1, 2), 1)
        logits: Tensor = self.model.head(pooled.flatten(1))
        return logits


def merged(merge: Any, tokens: Tensor, side: int) -> Tensor:
    """(B, L, C) -> (B, L / 4, 2C)."""
    batch, _, channels = tokens.shape
    x = tokens.view(batch, side, side, channels)
    quarters = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    cells = torch.cat(quarters, dim=-1).view(batch, -1, 4 * channels)
    out: Tensor = merge.reduction(merge.norm(cells))
    return out


def blocked(block: Any, tokens: Tensor, side: int) -> Tensor:
    """(B, L, C) -> (B, L, C)."""
    batch, length, channels = tokens.shape
    maps = tokens.view(batch, side, side, channels).permute(0, 3, 1, 2).contiguous()
    mixed = sandwich(block.mixer, maps).permute(0, 2, 3, 1).contiguous()
    tokens = tokens + block.drop_path(mixed.view(batch, length, channels))
    normed = block.bn(tokens.view(batch, side, side, channels).permute(0, 3, 1, 2))
    flat = normed.permute(0, 2, 3, 1).reshape(batch, length, channels)
    out: Tensor = tokens + block.drop_path(block.mlp(flat))
    return out


def sandwich(mixer: Any, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W): two 1x1 convolutions around the aggregation."""
    x = F.relu(mixer.bn_in(pointwise(mixer.conv_in, x)), inplace=True)
    x = F.relu(mixer.bn_mid(aggregated(mixer.spatial, x)), inplace=True)
    out: Tensor = mixer.bn_out(pointwise(mixer.conv_out, x))
    return out


def pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution by the convolution library."""
    return F.conv2d(x, layer.weight, layer.bias)


def aggregated(spatial: Any, x: Tensor) -> Tensor:
    """Apply the block's kernels: learned, predicted from the mean, or from each position."""
    batch, channels, height, width = x.shape
    if not hasattr(spatial, "expand"):
        reach = spatial.weight.shape[-1] // 2
        return F.conv2d(x, spatial.weight, spatial.bias, padding=reach, groups=channels)
    size = round(spatial.taps**0.5)
    reach = size // 2
    if hasattr(spatial, "bias"):
        kernels = predicted(spatial, F.adaptive_avg_pool2d(x, 1)).view(-1, 1, size, size)
        folded = x.reshape(1, batch * channels, height, width)
        bias = spatial.bias.repeat(batch)
        y = F.conv2d(folded, kernels, bias, padding=reach, groups=batch * channels)
        return y.view_as(x)
    weight = predicted(spatial, x).view(batch, spatial.groups, 1, spatial.taps, height, width)
    windows = F.unfold(x, size, padding=reach)
    windows = windows.view(batch, spatial.groups, -1, spatial.taps, height, width)
    return (weight * windows).sum(dim=3).view_as(x)


def predicted(spatial: Any, x: Tensor) -> Tensor:
    """Return what the block's generator predicts at each position of x."""
    features = F.relu(spatial.bn(pointwise(spatial.squeeze, x)), inplace=True)
    return pointwise(spatial.expand, features)
