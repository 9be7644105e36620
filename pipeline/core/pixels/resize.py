"""Resizing with antialiased filters: Pillow's pixels, from arrays to arrays."""

from typing import Literal

import numpy as np
from PIL import Image

from pipeline.core.pixels.native import Pixels, kernels

Filter = Literal["bilinear", "bicubic"]
RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize(
    pixels: Pixels,
    size: tuple[int, int],
    by: Filter = "bicubic",
    mirror: bool = False,
    channels: int = 3,
) -> Pixels:
    """Return an image, or a part that was cut out of one, in another size.

    Args:
        pixels: an array (H, W, 4) whose pixels follow each other in a row; the fourth byte means
            nothing.
        size: width and height to give.
        by: the filter.
        mirror: swap left and right.
        channels: 3, or 4 for another byte after each pixel that means nothing.

    Returns:
        An array (height, width, channels).
    """
    if (native := kernels()) is not None:
        out = native.resize(pixels, size, by == "bicubic", mirror, channels)
        if out is not None:
            return out

    shape = pixels.shape[1], pixels.shape[0]
    image = Image.frombytes("RGB", shape, np.ascontiguousarray(pixels), "raw", "RGBX")
    image = image.resize(size, RESAMPLE[by])
    if mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    data = image.tobytes("raw", "RGB" if channels == 3 else "RGBX")
    return np.frombuffer(data, np.uint8).reshape(size[1], size[0], channels)
