"""The sizes that every mixer comes in.

Imports no torch, so that parameters can be checked quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""What images are normalised by: red, green and blue of ImageNet, in units of the largest value."""


@dataclass(frozen=True)
class Size:
    """The numbers that differ between micro, tiny, small and base (paper, section 1.1).

    `linear_std` is the standard deviation that linear weights start with; None means one over the
    square root of the inputs.
    """

    embed_dim: int
    depths: tuple[int, int, int, int]
    num_heads: tuple[int, int, int, int]
    drop_path_rate: float
    image_size: int = 224
    linear_std: float | None = 0.02


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        # Not in the paper: small enough to train on one CPU core, with widths that vector units
        # like. The paper's 0.02 is meant for hundreds of inputs; from 16 it lets attention start so
        # flat that it learns nothing for a long while.
        "micro": Size(16, (1, 1, 2, 1), (1, 2, 4, 8), 0.0, image_size=64, linear_std=None),
        "tiny": Size(96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2),
        "small": Size(96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3),
        "base": Size(128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
    }
)
