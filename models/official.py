"""The authors' checkpoints, and official Swin's, into the networks of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.registry import build_backbone, build_classifier, list_models, split_name
from models.sizes import SIZES

RENAMES: tuple[tuple[str, str], ...] = (
    (r"^patch_embed\.", "backbone.stem."),
    (r"^layers\.", "backbone.stages."),
    (r"^norm(\d)\.", r"backbone.output_norms.\1."),
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

HEADS = re.compile(r"^(neck|rpn_head|roi_head|decode_head|auxiliary_head)\.")
"""Parts of the authors' detectors and segmenters that are not converted."""


def convert(state_dict: Mapping[str, Any], name: str, **overrides: Any) -> dict[str, Tensor]:
    """Renames official weights for `create_model(name, num_classes, **overrides)`.

    Args:
        state_dict: names -> tensors under the authors' names (for Swin, official Swin's or timm's), bare or inside
            `model` or `state_dict` as the official trainers save it, with or without a leading `module.`.
        name: a network of this package, such as `dwnet_tiny`.
        **overrides: those that the network is built with. `num_classes` is read from the head's weights.

    Returns:
        A state dict that `load_state_dict` takes strictly. Tensors are those given, not copies.

    Raises:
        ValueError: names are missing or left over, or shapes differ; all three are in the sentence, and the network
            that they would fit, or fit best, where it is another one. Or it is a detector or segmenter, whose heads
            are not converted: nobody could compare them with the authors' yet.
    """
    _refuse_heads(state_dict)
    weights = _weights(state_dict)
    head = weights.get("head.weight")
    classes = 1000 if head is None or head.ndim != 2 else head.shape[0]
    expected = _skeleton(name, classes, overrides).state_dict()
    _compare(name, weights, expected)
    return {key: weights[key] for key in expected}


def convert_backbone(state_dict: Mapping[str, Any], name: str, **overrides: Any) -> dict[str, Tensor]:
    """Renames the backbone of an official detector or segmenter for `create_backbone(name, **overrides)`.

    The authors' depth-wise backbones were trained with `output_norm="bn", pad_to=7`, official Swin's with
    `output_norm="ln"` (paper, section 4.5). Weights outside the backbone are left aside.

    Args:
        state_dict: as for `convert`; names may begin with `backbone.`.
        name: a network of this package.
        **overrides: those that the backbone is built with.

    Returns:
        A state dict that `load_state_dict` takes strictly.

    Raises:
        ValueError: as `convert`.
    """
    weights = _weights(state_dict, whole_network=False)
    with torch.device("meta"):
        expected = build_backbone(name, overrides).state_dict()
    _compare(name, weights, expected)
    return {key: weights[key] for key in expected}


def _refuse_heads(state_dict: Mapping[str, Any]) -> None:
    """Raises `ValueError` for the file of a detector or segmenter; it names the heads and what can be had."""
    heads = sorted({found[1] for key in unwrap(state_dict) if (found := HEADS.match(key))})
    if heads:
        raise ValueError(
            f"this is a detector or segmenter of the authors, and its {', '.join(heads)} cannot be converted; "
            "its backbone can, with convert_backbone"
        )


def _weights(state_dict: Mapping[str, Any], whole_network: bool = True) -> dict[str, Tensor]:
    """The weights of a file under the names of this package.

    Raises:
        ValueError: there is no state dict, or something in it is no tensor.
    """
    found = unwrap(state_dict)
    if not whole_network and any(key.startswith("backbone.") for key in found):
        found = {key.removeprefix("backbone."): value for key, value in found.items() if key.startswith("backbone.")}
    rename = _rename_timm if _is_timm(found) else _rename
    weights = {rename(key): value for key, value in found.items() if not COMPUTED.search(key)}
    if not whole_network:
        weights = {key.removeprefix("backbone."): value for key, value in weights.items()}
    return weights


def unwrap(state_dict: Any) -> dict[str, Tensor]:
    """The state dict of a checkpoint, from under `model` or `state_dict` if it is there, without a leading `module.`.

    Raises:
        ValueError: there is none, or something in it is no tensor.
    """
    for key in WRAPPERS:
        if isinstance(state_dict, Mapping) and isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise ValueError("there are no weights in it: neither under 'model' nor 'state_dict' nor bare")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"there are no weights in it: '{key}' is no tensor")
    return {key.removeprefix("module."): value for key, value in state_dict.items()}


def _is_timm(weights: Mapping[str, Any]) -> bool:
    """Whether a Swin has timm's names: the same but for the head, and merging at the start of a stage."""
    return "head.fc.weight" in weights or any(key.startswith("layers.3.downsample.") for key in weights)


def _rename_timm(key: str) -> str:
    merge = re.sub(r"^layers\.(\d+)\.downsample\.", lambda found: f"layers.{int(found[1]) - 1}.downsample.", key)
    return _rename(merge.replace("head.fc.", "head."))


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
        return build_classifier(name, num_classes, overrides)


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
        raise ValueError(f"these weights do not fit {name}{_guess(name, weights)}: {'; '.join(parts)}")


def _guess(name: str, weights: Mapping[str, Tensor]) -> str:
    """Half a sentence on the network whose names and shapes these are, or are most, if it is another one."""
    given, stem = _shapes(weights), weights.get("backbone.stem.proj.weight", weights.get("stem.proj.weight"))
    best, most = name, 0.0
    for candidate in list_models():
        if stem is None or SIZES[split_name(candidate)[1]].embed_dim != stem.shape[0]:
            continue
        own = _shapes(_skeleton(candidate, 1000, {}).state_dict())
        alike = len(given & own) / len(given | own)
        if alike > most or (alike == most and candidate == name):
            best, most = candidate, alike
    if best == name or most < 0.5:
        return ""
    return f", they are those of {best}" if most == 1 else f", they are nearest to those of {best}"


def _shapes(weights: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    """Names and shapes, without the parts that a backbone and a classifier do not share."""
    bare = {key.removeprefix("backbone."): tuple(value.shape) for key, value in weights.items()}
    return {item for item in bare.items() if not item[0].startswith(("norm.", "head.", "output_norms."))}


def _some(keys: list[str]) -> str:
    """The first few, and how many more."""
    rest = len(keys) - LISTED
    return ", ".join(keys[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
