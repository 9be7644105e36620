"""Networks of other people as baselines, by `timm:NAME`.

No mixer, but here, so that a row of the comparison finds its code as every other row does.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from models.mixers import nearest

PREFIX = "timm:"


def create_timm(name: str, num_classes: int, overrides: dict[str, Any]) -> nn.Module:
    """Build timm's model NAME for `timm:NAME`, without pretrained weights; overrides go to timm as
    they are.

    A `drop_path_rate` that the model has no use for is left out with a warning, so that one recipe
    can name many baselines.

    Raises:
        ValueError: timm has no such model, or the model takes no such override.
    """
    import timm

    model_name = name.removeprefix(PREFIX)
    if not timm.is_model(model_name):
        raise ValueError(
            f"timm has no model '{model_name}'; {nearest(model_name, timm.list_models())}"
        )
    return _build(model_name, dict(overrides, num_classes=num_classes))


def create_timm_backbone(name: str, overrides: dict[str, Any]) -> nn.Module:
    """Return the same as a module that gives the last four feature maps, (B, C_i, H_i, W_i).

    Raises:
        ValueError: as `create_timm`.
    """
    import timm

    model_name = name.removeprefix(PREFIX)
    if not timm.is_model(model_name):
        raise ValueError(
            f"timm has no model '{model_name}'; {nearest(model_name, timm.list_models())}"
        )
    return TimmFeatures(_build(model_name, dict(overrides, features_only=True)))


class TimmFeatures(nn.Module):
    """The last four maps of a timm feature extractor, channels on the second axis."""

    def __init__(self, net: nn.Module) -> None:
        """`net` was made with `features_only=True`."""
        super().__init__()
        self.net = net
        self.channels = tuple(net.feature_info.channels())[-4:]  # type: ignore[union-attr, operator]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> maps (B, C_i, H_i, W_i), fine to coarse."""
        maps = list(self.net(images))[-4:]
        return [
            m if m.shape[1] == c else m.permute(0, 3, 1, 2)
            for m, c in zip(maps, self.channels, strict=True)
        ]


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
    except TypeError as error:
        if "'drop_path_rate'" in str(error):
            warnings.warn(f"timm:{name} has no drop path; drop_path_rate is left out", stacklevel=3)
            return _build(
                name, {key: value for key, value in options.items() if key != "drop_path_rate"}
            )
        raise ValueError(f"timm:{name} does not take these overrides: {error}") from error
    return model
