"""Backbones as the heads want them: four maps at strides 4, 8, 16 and 32, with the authors'
downstream defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.mixers.timm import PREFIX, TimmFeatures, create_timm_backbone
from models.network.blocks import DepthwiseBlock
from models.registry import build_backbone

STRIDES = (4, 8, 16, 32)
WINDOW = 7
DEPTHWISE: Mapping[str, Any] = {"output_norm": "bn"}
ATTENTION: Mapping[str, Any] = {"output_norm": "ln", "pad_to": 1, "shrink_windows": False}


def dense_backbone(name: str, overrides: Mapping[str, Any]) -> nn.Module:
    """Build a backbone for a detector or segmenter.

    Networks of this package get what the authors' downstream backbones have (paper, section 4.5),
    unless `overrides` say otherwise: a norm behind each map, for depth-wise blocks maps filled up
    to multiples of the kernel's side (of 7 where each stage has a side of its own), and for windows
    of attention maps filled up to whole ones, however small.

    Raises:
        ValueError: an unknown name or override, or a timm network whose last four maps have other
            strides.
    """
    if name.startswith(PREFIX):
        return _timm(name, overrides)

    with torch.device("meta"):
        blocks = build_backbone(name, overrides).modules()
    if not any(isinstance(block, DepthwiseBlock) for block in blocks):
        return build_backbone(name, {**ATTENTION, **overrides})

    kernel = overrides.get("kernel_size", WINDOW)
    pad_to = kernel if isinstance(kernel, int) else WINDOW
    return build_backbone(name, {**DEPTHWISE, "pad_to": pad_to, **overrides})


def _timm(name: str, overrides: Mapping[str, Any]) -> nn.Module:
    backbone = create_timm_backbone(name, dict(overrides))
    assert isinstance(backbone, TimmFeatures)
    strides = tuple(backbone.net.feature_info.reduction())[-4:]  # type: ignore[union-attr, operator]
    if strides != STRIDES:
        needed, offered = (", ".join(map(str, values)) for values in (STRIDES, strides))
        raise ValueError(
            f"a detector or segmenter needs maps at strides {needed}, but those of {name} are at "
            f"{offered}"
        )
    return backbone
