"""JPEG files to arrays by libjpeg-turbo, without Pillow's image between.

The strict decoder takes sound files alone and gives Pillow's pixels for them. What it refuses (a
warning of the library, CMYK, anything else than JPEG) goes to Pillow, so nothing is lost.
"""

import io

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.pixels.native import Pixels

Image.MAX_IMAGE_PIXELS = None  # `shard.max_pixels` is the limit, kept when shards are written
JPEG_START = b"\xff\xd8\xff"
SCALE = 8  # the smallest scale: coefficients are read, and hardly anything is computed of them


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
    if data.startswith(JPEG_START):
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB" if channels == 3 else "RGBX")
            return pixels
        except ValueError:
            pass  # Pillow knows more
    return array(Image.open(io.BytesIO(data)).convert("RGB"), channels)


def array(image: Image.Image, channels: int) -> Pixels:
    """Return the pixels of an RGB image as an array (H, W, channels)."""
    if channels == 3:
        return np.array(image)
    data = image.tobytes("raw", "RGBX")
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width, 4)


def is_sound(data: bytes) -> bool:
    """Say whether the strict decoder reads all of a JPEG's data without a complaint.

    Every coefficient is read, as for a whole image; only the pixels are computed at an eighth of
    the scale. Where this says no, the file may still be one that Pillow reads.
    """
    try:
        simplejpeg.decode_jpeg(data, "RGB", min_factor=SCALE)
    except ValueError:
        return False
    return True
