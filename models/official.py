"""The authors' checkpoints, and official Swin's, into the networks of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.backbone import Classifier
from models.registry import build_backbone

RENAMES: tuple[tuple[str, str], ...] = (
    (r"^patch_embed\.", "backbone.stem."),
    (r"^layers\.", "backbone.stages."),
    (r"\.attn\.", ".mixer."),
    (r"\.attn2conv\.conv0\.", ".mixer.conv_in."),
    (r"\.attn2conv\.bn0\.", ".mixer.bn_in."),
    (r"\.attn2conv\.bn\.", ".mixer.bn_mid."),
    (r"\.attn2conv\.conv2\.", ".mixer.conv_out."),
    (r"\.attn2conv\.bn2\.", ".mixer.bn_out."),
    (r"\.attn2conv\.conv\.", ".mixer.spatial."),
    # Weight generators: the inhomogeneous one wraps each layer in a Sequential, hence the numbers.
    (r"\.spatial\.conv1\.(0\.)?(?=weight|bias$)", ".spatial.squeeze."),
    (r"\.spatial\.conv1\.1\.", ".spatial.bn."),
    (r"\.spatial\.conv2\.(0\.)?(?=weight|bias$)", ".spatial.expand."),
)
"""Patterns and what replaces them, applied in this order (paper, section 1.5)."""

COMPUTED = re.compile(r"\.(relative_position_index|attn_mask)$")
"""Buffers of official Swin that follow from the map's size; they are not weights."""

WRAPPERS = ("model", "state_dict")
LISTED = 5


def convert(state_dict: Mapping[str, Any], name: str, **overrides: Any) -> dict[str, Tensor]:
    """Renames official weights for `create_model(name, num_classes, **overrides)`.

    Args:
        state_dict: names -> tensors under the authors' names, bare or inside `model` or `state_dict` as the
            official trainers save it, with or without a leading `module.`.
        name: a network of this package, such as `dwnet_tiny`.
        **overrides: those that the network is built with. `num_classes` is read from the head's weights.

    Returns:
        A state dict that `load_state_dict` takes strictly. Tensors are those given, not copies.

    Raises:
        ValueError: names are missing or left over, or shapes differ; all three are in the sentence.
    """
    weights = {_rename(key): value for key, value in _unwrap(state_dict).items() if not COMPUTED.search(key)}
    head = weights.get("head.weight")
    expected = _skeleton(name, 1000 if head is None else head.shape[0], overrides).state_dict()
    _compare(name, weights, expected)
    return {key: weights[key] for key in expected}


def _unwrap(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]
    return {key.removeprefix("module."): value for key, value in state_dict.items()}


def _rename(key: str) -> str:
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    # The official network merges at the end of a stage, this one at the start of the next.
    return re.sub(
        r"^backbone\.stages\.(\d+)\.downsample\.",
        lambda found: f"backbone.stages.{int(found[1]) + 1}.merge.",
        key,
    )


def _skeleton(name: str, num_classes: int, overrides: Mapping[str, Any]) -> nn.Module:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return Classifier(build_backbone(name, overrides), num_classes)


def _compare(name: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & weights.keys())
        if weights[key].shape != expected[key].shape
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    parts = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in found if keys]
    if parts:
        raise ValueError(f"these weights do not fit {name}: {'; '.join(parts)}")


def _some(keys: list[str]) -> str:
    """The first few, and how many more."""
    rest = len(keys) - LISTED
    return ", ".join(keys[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
