"""The networks of this package among timm's: `import models.timm`, then
`timm.create_model("dwnet_tiny")`.

timm builds them by its own rules: `features_only=True` gives the four maps, `num_classes=0` leaves
out the head, and `local-dir:FOLDER` with `pretrained=True` is the classifier that was published in
a folder.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from models import mixers
from models.network.backbone import Classifier, image_cfg
from models.network.sizes import SIZES
from models.registry import build_classifier, list_models, split_name


def _cfg(name: str) -> dict[str, Any]:
    mixer, size = split_name(name)
    side = SIZES[size].image_size
    switches = mixers.load(mixer).switches
    fixed = not (switches.shared_positions or switches.dynamic)
    return {**image_cfg((side, side), 1000), "fixed_input_size": fixed}


def _classifier(
    name: str,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    global_pool: str = "avg",
    **overrides: Any,
) -> Classifier:
    """Build a network by timm's names for what all its models take."""
    if in_chans != 3:
        raise ValueError(f"{name} takes images of 3 channels, not {in_chans}")
    if global_pool != "avg":
        raise ValueError(f"{name} averages its tokens; there is no global_pool '{global_pool}'")
    if img_size is not None:
        overrides.setdefault("image_size", img_size)
    return build_classifier(name, num_classes, overrides)


def _build(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
    """Build a network as timm builds its own."""
    features = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
    model: nn.Module = build_model_with_cfg(
        partial(_classifier, name), name, pretrained, feature_cfg=features, **options
    )
    return model


def _register(name: str) -> None:
    def build(pretrained: bool = False, **options: Any) -> nn.Module:
        return _build(name, pretrained, **options)

    build.__name__ = build.__qualname__ = name
    register_model(build)


default_cfgs = generate_default_cfgs({name: _cfg(name) for name in list_models()})
for _name in list_models():
    _register(_name)
