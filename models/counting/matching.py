"""Parameter-matched controls: the feed-forward width with which one network is as large as
another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from fractions import Fraction
from itertools import count
from math import ceil
from typing import Any

import torch

from models.counting.macs import count_parameters
from models.mixers.timm import PREFIX
from models.network.layers import Mlp, hidden_width


def matched_mlp_ratio(
    name: str,
    overrides: Mapping[str, Any],
    parameters: int,
    num_classes: int = 1000,
    image_size: int | tuple[int, int] | None = None,
) -> tuple[float, int]:
    """Return the `mlp_ratio` with which a classifier comes as near as it can to a number of
    parameters.

    The hidden widths of all stages follow from that of the last one, so there are as many sizes of
    a network as widths of its last stage. Of two sizes that are equally near the smaller one is
    taken, and of the ratios that give the same network the one with the fewest decimals.

    Args:
        name: `MIXER_SIZE` as in `models.list_models()`.
        overrides: those of `models.create_model`; an `mlp_ratio` among them makes no difference.
        parameters: the number of trainable values to come near to.
        num_classes: length of the logits.
        image_size: as in `models.create_model`; it counts where a mixer has weights per position.

    Returns:
        The ratio, and the number of parameters that the network has with it.

    Raises:
        ValueError: the network is larger than that with the narrowest feed-forward layers already,
            or it has none, or `models.create_model` refuses the name or an override.
    """
    dims, rest = _feed_forward(name, overrides, num_classes, image_size)
    narrow = min(dims)
    wide = max(dims)

    def total(width: int) -> int:
        """Parameters where the hidden layers of the widest stage have `width` channels."""
        return rest + sum((2 * dim + 1) * (width * dim // wide) for dim in dims)

    smallest = wide // narrow
    if total(smallest) > parameters:
        raise ValueError(
            f"{name} has {total(smallest):,} parameters with the narrowest feed-forward layers "
            "that it can have, "
            f"more than the {parameters:,} asked for"
        )

    widths = range(smallest, smallest + parameters // (2 * wide + 1) + 1)
    above = smallest + bisect_left(widths, parameters, key=total)
    nearest = min(max(smallest, above - 1), above, key=lambda width: abs(total(width) - parameters))
    return _ratio(nearest, dims), total(nearest)


def _feed_forward(
    name: str,
    overrides: Mapping[str, Any],
    num_classes: int,
    image_size: int | tuple[int, int] | None,
) -> tuple[list[int], int]:
    """Channels of each feed-forward network, and the number of parameters without their hidden
    layers.
    """
    from models import create_model

    if name.startswith(PREFIX):
        raise ValueError(
            f"{name} is a network of timm; only those of this package have an mlp_ratio to match"
        )

    size = {} if image_size is None else {"image_size": image_size}
    with torch.device("meta"):
        model = create_model(name, num_classes, **{**overrides, **size})
    parts = [module for module in model.modules() if isinstance(module, Mlp)]
    if not parts:
        raise ValueError(f"{name} has no feed-forward layers whose width could be matched")

    hidden = sum((2 * mlp.fc1.in_features + 1) * mlp.fc1.out_features for mlp in parts)
    return [mlp.fc1.in_features for mlp in parts], count_parameters(model) - hidden


def _ratio(width: int, dims: list[int]) -> float:
    """Return the number with the fewest decimals with which hidden layers of the widest stage have
    `width` channels.
    """
    wide = max(dims)
    for decimals in count():
        ratio: float = ceil(Fraction(width, wide) * 10**decimals) / 10**decimals
        if all(hidden_width(dim, ratio) == width * dim // wide for dim in dims):
            return ratio
    raise AssertionError("some decimal lies between two widths")
