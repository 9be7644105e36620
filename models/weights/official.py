"""The authors' checkpoints, and official Swin's, into the networks of this package."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.network.sizes import SIZES
from models.registry import build_backbone, build_classifier, list_models, split_name
from models.weights.official_heads import kind_of, rename_heads

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
BACKBONE = "backbone."
COUNTER = "num_batches_tracked"
LISTED = 5


def convert(state_dict: Mapping[str, Any], name: str, **overrides: Any) -> dict[str, Tensor]:
    """Rename official weights for `create_model(name, num_classes, **overrides)`.

    Args:
        state_dict: names -> tensors under the authors' names (for Swin, official Swin's or timm's),
            bare or inside `model` or `state_dict` as the official trainers save it, with or without
            a leading `module.`.
        name: a network of this package, such as `dwnet_tiny`.
        **overrides: those that the network is built with. `num_classes` is read from the head's
            weights.

    Returns:
        A state dict that `load_state_dict` takes strictly. Tensors are those given, not copies.

    Raises:
        ValueError: names are missing or left over, or shapes differ; all three are in the sentence,
            and the network that they would fit, or fit best, where it is another one. Or they are
            those of a detector or segmenter: `convert_dense` takes them.
    """
    weights = _weights(state_dict)
    head = weights.get("head.weight")
    classes = 1000 if head is None or head.ndim != 2 else head.shape[0]
    return _fitting(name, weights, _skeleton(name, classes, overrides).state_dict())


def convert_backbone(
    state_dict: Mapping[str, Any], name: str, **overrides: Any
) -> dict[str, Tensor]:
    """Rename the backbone of an official detector or segmenter for `create_backbone(name,
    **overrides)`.

    The authors' depth-wise backbones were trained with `output_norm="bn", pad_to=7`, official
    Swin's with `output_norm="ln"` (paper, section 4.5). Weights outside the backbone are left
    aside.

    Args:
        state_dict: as for `convert`; names may begin with `backbone.`.
        name: a network of this package.
        **overrides: those that the backbone is built with.

    Returns:
        A state dict that `load_state_dict` takes strictly.

    Raises:
        ValueError: as `convert`.
    """
    weights = _backbone(unwrap(state_dict))
    with torch.device("meta"):
        expected = build_backbone(name, overrides).state_dict()
    return _fitting(name, weights, expected)


def convert_dense(state_dict: Mapping[str, Any], name: str, model: nn.Module) -> dict[str, Tensor]:
    """Rename the weights of an official detector or segmenter, heads included.

    Args:
        state_dict: names -> tensors as mmdetection and mmsegmentation save them: under
            `state_dict`, `model` or bare, with or without a leading `module.`. Averages of weights
            beside them (`state_dict_ema`) are left aside.
        name: the backbone's network, such as `dwnet_tiny`.
        model: what `models.heads.create_detector` or `create_segmenter` gave for it.

    Returns:
        A state dict that `model.load_state_dict` takes strictly. Tensors are those given, not
        copies.

    Raises:
        ValueError: as `convert`; or the weights are of another kind of network, which is named.
    """
    source = unwrap(state_dict)
    expected = model.state_dict()
    _refuse_other_kind(source, kind_of(expected))

    heads = {key: value for key, value in source.items() if not key.startswith(BACKBONE)}
    backbone = _backbone({key: value for key, value in source.items() if key.startswith(BACKBONE)})
    weights = _renamed(heads, rename_heads(heads).__getitem__)
    weights |= {f"{BACKBONE}{key}": value for key, value in backbone.items()}
    return _fitting(name, weights, expected)


def _weights(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a classifier's file under the names of this package.

    Raises:
        ValueError: there is no state dict, something in it is no tensor, or it is of another kind
            of network.
    """
    source = unwrap(state_dict)
    _refuse_other_kind(source, "classifier")
    rename = _rename_timm if _is_timm(source) else _rename
    return _renamed(
        {key: value for key, value in source.items() if not COMPUTED.search(key)}, rename
    )


def _backbone(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a file's backbone under the names that a backbone of this package
    has.
    """
    if any(key.startswith(BACKBONE) for key in source):
        source = {
            key.removeprefix(BACKBONE): value
            for key, value in source.items()
            if key.startswith(BACKBONE)
        }
    return _renamed(_weights(source), lambda key: key.removeprefix(BACKBONE)) if source else {}


def unwrap(state_dict: Any) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint, from under `model` or `state_dict` if it is there,
    without a leading `module.`.

    Raises:
        ValueError: there is none, something in it is no tensor, or two of its names differ by
            `module.` alone.
    """
    for key in WRAPPERS:
        if isinstance(state_dict, Mapping) and isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]

    if not isinstance(state_dict, Mapping) or not state_dict:
        raise ValueError(
            "there are no weights in it: neither under 'model' nor 'state_dict' nor bare"
        )

    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"there are no weights in it: '{key}' is no tensor")

    return _renamed(state_dict, lambda key: key.removeprefix("module."))


def _renamed(weights: Mapping[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for key, value in weights.items():
        if (new := rename(key)) in renamed:
            raise ValueError(
                f"{key} and another of its weights both stand for {new}; it must hold one of them"
            )
        renamed[new] = value
    return renamed


def _refuse_other_kind(source: Mapping[str, Tensor], kind: str | None) -> None:
    """Raise `ValueError` for the weights of a classifier, detector or segmenter where another of
    them is needed.
    """
    content = kind_of(source)
    if content is not None and kind is not None and content != kind:
        raise ValueError(f"it holds the weights of a {content}, where those of a {kind} are needed")


def _is_timm(weights: Mapping[str, Any]) -> bool:
    """Whether a Swin has timm's names: the same but for the head, and merging at the start of a
    stage.
    """
    return "head.fc.weight" in weights or any(
        key.startswith("layers.3.downsample.") for key in weights
    )


def _rename_timm(key: str) -> str:
    merge = re.sub(
        r"^layers\.(\d+)\.downsample\.",
        lambda match: f"layers.{int(match[1]) - 1}.downsample.",
        key,
    )
    return _rename(merge.replace("head.fc.", "head."))


def _rename(key: str) -> str:
    for pattern, replacement in RENAMES:
        key = re.sub(pattern, replacement, key)
    # The official network merges at the end of a stage, this one at the start of the next.
    return re.sub(
        r"^backbone\.stages\.(\d+)\.downsample\.",
        lambda match: f"backbone.stages.{int(match[1]) + 1}.merge.",
        key,
    )


def _skeleton(name: str, num_classes: int, overrides: Mapping[str, Any]) -> nn.Module:
    """Return the network without memory for its weights."""
    with torch.device("meta"):
        return build_classifier(name, num_classes, overrides)


def _fitting(
    name: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights in the order of `expected`, whose names and shapes they must have.

    Files that are older than batch norm's counters hold none of them: they count from 0 then.
    """
    if not any(key.endswith(COUNTER) for key in weights):
        means = (
            key.removesuffix("running_mean") for key in weights if key.endswith(".running_mean")
        )
        weights = {**weights, **{f"{norm}{COUNTER}": torch.tensor(0) for norm in means}}
    _compare(name, weights, expected)
    return {key: weights[key] for key in expected}


def _compare(name: str, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - weights.keys())
    unexpected = sorted(weights.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(weights[key].shape)} for {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & weights.keys())
        if weights[key].shape != expected[key].shape
    ]

    differences = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    parts = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in differences if keys]

    if parts:
        guess = _guess(name, weights)
        hint = (
            ""
            if guess or missing or unexpected
            else "; were they trained on other classes, or with other settings?"
        )
        raise ValueError(f"these weights do not fit {name}{guess}: {'; '.join(parts)}{hint}")


def _guess(name: str, weights: Mapping[str, Tensor]) -> str:
    """Half a sentence on the network whose names and shapes these are, or are most, if it is
    another one.
    """
    shapes = _shapes(weights)
    stem = weights.get("backbone.stem.proj.weight", weights.get("stem.proj.weight"))
    best = name
    most = 0.0

    for candidate in list_models():
        if stem is None or SIZES[split_name(candidate)[1]].embed_dim != stem.shape[0]:
            continue
        candidate_shapes = _shapes(_skeleton(candidate, 1000, {}).state_dict())
        alike = len(shapes & candidate_shapes) / len(shapes | candidate_shapes)
        if alike > most or (alike == most and candidate == name):
            best = candidate
            most = alike

    if best == name or most < 0.5:
        return ""
    return f", they are those of {best}" if most == 1 else f", they are nearest to those of {best}"


def _shapes(weights: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a backbone's weights, without the norms that only some have behind their
    maps.
    """
    prefixed = any(key.startswith(BACKBONE) for key in weights)
    bare = {
        key.removeprefix(BACKBONE): tuple(value.shape)
        for key, value in weights.items()
        if key.startswith(BACKBONE) or not prefixed
    }
    return {item for item in bare.items() if not item[0].startswith("output_norms.")}


def _some(keys: list[str]) -> str:
    """Return the first few, and how many more."""
    rest = len(keys) - LISTED
    return ", ".join(keys[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
