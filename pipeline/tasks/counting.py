"""Counting a task's networks: parameters, and operations an image in training and in evaluation.

Each task's `operations` builds its network on a device without memory and counts one pass of zeros.
Needs torch, which takes seconds to import: the functions import it where they need it.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operations:
    """Parameters of a network, and its operations for one image, forward, by the rule of
    `profile`.
    """

    parameters: int
    train: float
    evaluation: float


def size_within(sides: tuple[float, float], aspect: float) -> tuple[int, int]:
    """Return (height, width) of an image that fits between two sides, in multiples of the coarsest
    stride.
    """
    height = min(*sides, max(sides) / aspect)
    rows, columns = (max(32, round(side / 32) * 32) for side in (height, height * aspect))
    return rows, columns


def counted(model: Any, size: tuple[int, int]) -> tuple[int, float]:
    """Return a network's parameters, and its operations for an image of a size (height, width)."""
    from models.counting.macs import count_macs, count_parameters

    return count_parameters(model), float(count_macs(model, size)["total"])
