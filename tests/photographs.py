"""A picture, and files that are none."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def scene() -> Image.Image:
    """A picture whose quarters differ: red, green, blue, white."""
    pixels = np.zeros((24, 32, 3), dtype=np.uint8)
    pixels[:12, :16, 0] = pixels[:12, 16:, 1] = pixels[12:, :16, 2] = 200
    pixels[12:, 16:] = 250
    return Image.fromarray(pixels)


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds a smaller picture."""
    data = io.BytesIO()
    Image.new("L", (8, 8)).save(data, "PNG")
    content = bytearray(data.getvalue())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


def jpeg() -> bytes:
    data = io.BytesIO()
    Image.effect_noise((200, 200), 80).save(data, "JPEG")
    return data.getvalue()


UNREADABLE = {
    "cut.jpg": (jpeg()[:5000], "cut off or damaged: image file is truncated"),
    "text.jpg": (b"hello, this is no picture", "no picture of a known format"),
    "empty.png": (b"", "it is empty"),
    "dot.png": (png_of(1, 1), "1 x 1 pixels, and a side needs at least 8"),
    "large.png": (png_of(20_000, 20_000), "20,000 x 20,000 pixels, 400 million, and at most 100"),
    "strip.png": (png_of(9_000, 10), "more than 100 times as long as wide"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "an HEIC picture, which is not read here"),
    "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a known"),
}
"""Files by name: their bytes, and what is said of them."""
