"""From a name and overrides to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from torch import nn

from models import mixers
from models.mixers import MixerFile, nearest
from models.network.backbone import PATCH, Backbone, Classifier, Layout, Remainder
from models.network.layers import hidden_width
from models.network.sizes import SIZES
from models.network.spec import BlockConfig

LAYOUT_OPTIONS = (
    "embed_dim",
    "depths",
    "num_heads",
    "drop_path_rate",
    "mlp_ratio",
    "image_size",
    "output_norm",
    "pad_to",
    "shrink_windows",
    "remainder",
)
STAGES = 4


def list_models() -> list[str]:
    """Names of all networks of this package, `MIXER_SIZE`, sorted by mixer and by size."""
    return [f"{mixer}_{size}" for mixer in mixers.names() for size in SIZES]


def split_name(name: str) -> tuple[str, str]:
    """`MIXER_SIZE` -> (mixer, size).

    Raises:
        ValueError: there is no such network; the nearest name is given.
    """
    mixer, _, size = name.rpartition("_")
    if size not in SIZES or mixer not in mixers.names():
        raise ValueError(f"there is no model '{name}'; {nearest(name, list_models())}")
    return mixer, size


def build_classifier(name: str, num_classes: int, overrides: Mapping[str, Any]) -> Classifier:
    """Build the classifier of a network of this package, which cuts the remainder as the authors'
    do.

    Raises:
        ValueError: as `build_backbone`.
    """
    return Classifier(build_backbone(name, {"remainder": "cut", **overrides}), num_classes)


def build_backbone(name: str, overrides: Mapping[str, Any]) -> Backbone:
    """Build the backbone of a network of this package.

    Raises:
        ValueError: an unknown name or override, or a value that does not fit.
    """
    mixer_name, size = split_name(name)
    mixer = mixers.load(mixer_name)
    _refuse_unknown(name, mixer, overrides)
    options = {key: value for key, value in overrides.items() if key in mixer.options}
    return Backbone(_layout(size, overrides), _block_builder(mixer, options))


def _refuse_unknown(name: str, mixer: MixerFile, overrides: Mapping[str, Any]) -> None:
    options = [*LAYOUT_OPTIONS, *mixer.options]
    for key in overrides:
        if key not in options:
            raise ValueError(f"{name} takes no override '{key}'; {nearest(key, options)}")

    if "num_heads" in overrides and {"groups", "group_channels"} & overrides.keys():
        raise ValueError(
            "give num_heads or groups or group_channels, one of them: the others follow from it"
        )


def _layout(size: str, overrides: Mapping[str, Any]) -> Layout:
    chosen = {key: overrides[key] for key in LAYOUT_OPTIONS if key in overrides}
    base = SIZES[size]
    layout = Layout(
        size=size,
        embed_dim=base.embed_dim,
        depths=base.depths,
        num_heads=base.num_heads,
        drop_path_rate=base.drop_path_rate,
        mlp_ratio=4.0,
        image_size=(base.image_size, base.image_size),
    )

    if isinstance(chosen.get("image_size"), int):
        chosen["image_size"] = (chosen["image_size"],) * 2
    chosen.update(
        {key: tuple(chosen[key]) for key in ("depths", "num_heads", "image_size") if key in chosen}
    )

    layout = replace(layout, **chosen)
    _check(layout)
    return layout


def _check(layout: Layout) -> None:
    for key in ("depths", "num_heads"):
        values = getattr(layout, key)
        if len(values) != STAGES or min(values) < 1:
            raise ValueError(
                f"{key} must be {STAGES} whole numbers of at least 1, one for each stage, not "
                f"{values}"
            )
    if layout.embed_dim < 4 or layout.embed_dim % 4:
        raise ValueError(f"embed_dim must be a multiple of 4, not {layout.embed_dim}")
    if not 0 <= layout.drop_path_rate < 1:
        raise ValueError(
            f"drop_path_rate must be at least 0 and below 1, not {layout.drop_path_rate}"
        )
    if len(layout.image_size) != 2 or min(layout.image_size) < 1:
        raise ValueError(
            f"image_size must be one side or (height, width) in pixels, not {layout.image_size}"
        )
    if layout.remainder not in get_args(Remainder):
        raise ValueError(f"remainder must be cut or pad, not {layout.remainder!r}")
    if layout.remainder == "cut" and min(layout.image_size) < PATCH:
        raise ValueError(
            f"image_size must be at least {PATCH}, the side of a patch, not {layout.image_size}"
        )
    if hidden_width(layout.embed_dim, layout.mlp_ratio) < 1:
        raise ValueError(
            f"mlp_ratio must leave the {layout.embed_dim} channels of the first stage a "
            "hidden one, "
            f"so be at least {1 / layout.embed_dim:.3g}, not {layout.mlp_ratio}"
        )
    if layout.pad_to < 1:
        raise ValueError(f"pad_to must be at least 1, not {layout.pad_to}")


def _block_builder(
    mixer: MixerFile, options: Mapping[str, Any]
) -> Callable[[BlockConfig], nn.Module]:
    """Return a function of the place alone; an option that is a sequence of four gives each stage
    its own value.
    """
    for key, value in options.items():
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) != STAGES:
            raise ValueError(
                f"{key} must be one value or {STAGES}, one for each stage, not {value}"
            )
    return partial(_block, mixer, options)


def _block(mixer: MixerFile, options: Mapping[str, Any], place: BlockConfig) -> nn.Module:
    here = {
        key: value[place.stage]
        if isinstance(value, Sequence) and not isinstance(value, str)
        else value
        for key, value in options.items()
    }
    return mixer.block(place, **here)
