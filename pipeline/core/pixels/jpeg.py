"""JPEG files to arrays by libjpeg-turbo, without Pillow's image between.

The strict decoder takes sound files alone and gives Pillow's pixels for them. What it refuses (a
warning of the library, CMYK, anything else than JPEG) goes to Pillow, so nothing is lost.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.core.pixels.native import Pixels

Image.MAX_IMAGE_PIXELS = None  # `shard.max_pixels` is the limit, kept when shards are written
JPEG_START = b"\xff\xd8\xff"
COLOURS = ("Gray", "RGB", "YCbCr")  # of others, CMYK, the two decoders make RGB by other rules


def decode(data: bytes, channels: int = 3) -> Pixels:
    """Return the pixels of an image file as it is stored, RGB.

    Args:
        data: a JPEG or whatever else Pillow reads.
        channels: 3, or 4 for another byte after each pixel that means nothing.

    Returns:
        An array (H, W, channels).

    Raises:
        Exception: as Pillow where it cannot read the file.
    """
    pixels = strict(data, channels)
    if pixels is None:
        pixels = array(Image.open(io.BytesIO(data)).convert("RGB"), channels)
    return pixels


def strict(data: bytes, channels: int = 3) -> Pixels | None:
    """Return the pixels of a sound JPEG as `decode` does; None for every other file."""
    return _decoded(data, "RGB" if channels == 3 else "RGBX")


def is_sound(data: bytes) -> bool:
    """Say whether `strict` would give the pixels, for half of the work.

    Every coefficient is read, so the same damage is found; pixels are computed at an eighth of the
    scale, and grey.
    """
    return _decoded(data, "GRAY", min_height=1, min_width=1, min_factor=8) is not None


def _decoded(data: bytes, colours: str, **scale: int) -> Pixels | None:
    if not data.startswith(JPEG_START):
        return None
    try:
        if simplejpeg.decode_jpeg_header(data)[2] not in COLOURS:
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(data, colours, **scale)
    except ValueError:
        return None
    return pixels


def array(image: Image.Image, channels: int) -> Pixels:
    """Return the pixels of an RGB image as an array (H, W, channels)."""
    if channels == 3:
        return np.array(image)
    data = image.tobytes("raw", "RGBX")
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width, 4)
