"""JPEG files to arrays by libjpeg-turbo, without Pillow's image between.

The strict decoder takes sound files alone and gives Pillow's pixels for them. What it refuses (a
warning of the library, CMYK, anything else than JPEG) goes to Pillow, so nothing is lost.
"""

import io
import threading

import numpy as np
import simplejpeg
from PIL import Image

from pipeline.core.pixels.native import Pixels

Image.MAX_IMAGE_PIXELS = None  # `shard.max_pixels` is the limit, kept when shards are written
JPEG_START = b"\xff\xd8\xff"
MOST_KEPT = 1 << 25  # bytes, an image of 8 megapixels
COLOURS = ("Gray", "RGB", "YCbCr")  # of others, CMYK, the two decoders make RGB by other rules
_kept = threading.local()


def decode(data: bytes) -> Pixels:
    """Return the pixels (H, W, 3) of a JPEG, or whatever else Pillow reads, as they are stored.

    Raises:
        Exception: as Pillow where it cannot read the file.
    """
    pixels = _decoded(data, "RGB")
    return array(_by_pillow(data), 3) if pixels is None else pixels


def decode_padded(data: bytes) -> Pixels:
    """Return the same as (H, W, 4), the form that `resize` takes; the fourth byte means nothing.

    It stands until this thread's next call: memory that is fresh for each image costs a quarter of
    the time.
    """
    pixels = strict_padded(data)
    return array(_by_pillow(data), 4) if pixels is None else pixels


def strict_padded(data: bytes) -> Pixels | None:
    """Return what `decode_padded` does of a sound JPEG; None for every other file."""
    return _decoded(data, "RGBX", scratch=True)


def is_sound(data: bytes) -> bool:
    """Say whether `strict_padded` would give the pixels, for half of the work.

    Every coefficient is read, so the same damage is found; pixels are computed at an eighth of the
    scale, and grey.
    """
    return _decoded(data, "GRAY", min_height=1, min_width=1, min_factor=8) is not None


def _decoded(data: bytes, colours: str, scratch: bool = False, **scale: int) -> Pixels | None:
    if not data.startswith(JPEG_START):
        return None
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(data)
        if colour_space not in COLOURS:
            return None
        buffer = _memory(4 * height * width) if scratch else None
        pixels: Pixels = simplejpeg.decode_jpeg(data, colours, buffer=buffer, **scale)
    except ValueError:
        return None

    return pixels


def _memory(size: int) -> Pixels | None:
    """Return this thread's memory of at least `size` bytes; None where that is too much to keep."""
    if size > MOST_KEPT:
        return None
    if len(getattr(_kept, "memory", ())) < size:
        _kept.memory = np.empty(size, np.uint8)
    memory: Pixels = _kept.memory
    return memory


def _by_pillow(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def array(image: Image.Image, channels: int) -> Pixels:
    """Return the pixels of an RGB image as an array (H, W, channels)."""
    if channels == 3:
        return np.array(image)
    data = image.tobytes("raw", "RGBX")
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width, 4)
