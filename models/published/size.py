"""The size of image that a published network is made for."""

from collections.abc import Mapping
from typing import Any


def size_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return (height, width) that a published network was evaluated at, a square of the short side
    where that depends on the picture.
    """
    transform = config["transform"]
    fixed = config["model_args"].get("image_size")
    side = fixed or transform.get("crop") or min(transform["sides"])
    height, width = (side, side) if isinstance(side, int) else side
    multiple = transform.get("multiple", 1)
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple
