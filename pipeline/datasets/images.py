"""What an image file really is: checked in full, mended where that is harmless, refused by reason otherwise.

Bytes of a sound JPEG are never touched, grey ones included (loading turns them into RGB); only what a JPEG reader
would stumble over is encoded anew.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

REPAIR_QUALITY = 95
JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"


class RefusedError(Exception):
    """A file that cannot be used: a reason code, and what was seen."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Checked:
    """JPEG bytes that decode in full, their size in pixels, and the reason code of a repair."""

    data: bytes
    width: int
    height: int
    repaired: str | None = None


def check(name: str, data: bytes, max_pixels: int, short_side: int | None = None, quality: int = 90) -> Checked:
    """Decode an image in full and return it as JPEG bytes.

    Args:
        name: the file's name; a PNG that calls itself JPEG is told apart from one that does not.
        data: the bytes of the file, JPEG or PNG.
        max_pixels: refuse more than this many pixels, before decoding.
        short_side: shrink so that the shorter side has this many pixels; smaller images stay as they are.
        quality: JPEG quality for shrunk images.

    Raises:
        RefusedError: empty, not_an_image, too_many_pixels, truncated, damaged.
    """
    if not data:
        raise RefusedError("empty")
    image = _decode(data, max_pixels)
    repaired = _repair_reason(name, data, image)
    shrink = short_side is not None and min(image.size) > short_side
    if repaired is None and not shrink:
        return Checked(data, *image.size)
    if short_side is not None and shrink:
        scale = short_side / min(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return Checked(_jpeg(_rgb(image).resize(size, Image.Resampling.BICUBIC), quality), *size, repaired)
    return Checked(_jpeg(_rgb(image), REPAIR_QUALITY), *image.size, repaired)


def check_mask(data: bytes, size: tuple[int, int], largest: int, max_pixels: int) -> list[int]:
    """Decode an index mask and return the values in it, ascending.

    Args:
        data: the bytes of a PNG with one channel.
        size: width and height of the image that it belongs to.
        largest: the largest label that has a name.
        max_pixels: refuse more than this many pixels, before decoding.

    Raises:
        RefusedError: mask_not_png, mask_channels, mask_size, mask_value, or as for images.
    """
    if not data:
        raise RefusedError("empty")
    if not data.startswith(PNG_START):
        raise RefusedError("mask_not_png", "labels survive only lossless compression")
    mask = _decode(data, max_pixels)
    if mask.mode not in ("L", "P", "1"):
        raise RefusedError("mask_channels", f"expected one 8-bit channel, found mode {mask.mode}")
    if mask.size != size:
        raise RefusedError("mask_size", f"mask {mask.width}x{mask.height}, image {size[0]}x{size[1]}")
    values: list[int] = np.flatnonzero(np.bincount(np.asarray(mask, dtype=np.uint8).ravel())).tolist()
    if values[-1] > largest:
        raise RefusedError("mask_value", f"value {values[-1]}, largest known label {largest}")
    return values


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    """Return the fully decoded image; its size is checked before any pixel is."""
    if not data.startswith((JPEG_START, PNG_START)):
        raise RefusedError("not_an_image", f"neither JPEG nor PNG, starts with {data[:8]!r}")
    if data.startswith(PNG_START) and PNG_END not in data:  # the decoder is content once it has all pixels
        raise RefusedError("truncated", f"no end marker, {len(data)} bytes")
    with warnings.catch_warnings():  # broken EXIF and large sizes only warn; neither matters here
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
            if image.width * image.height > max_pixels:
                raise RefusedError("too_many_pixels", f"{image.width}x{image.height}, allowed {max_pixels} pixels")
            image.load()
        except RefusedError:
            raise
        except Image.DecompressionBombError as error:
            raise RefusedError("too_many_pixels", str(error)) from None
        except UnidentifiedImageError:
            raise RefusedError("damaged", f"unreadable header, {len(data)} bytes") from None
        except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
            reason = "truncated" if "truncated" in str(error).lower() else "damaged"
            raise RefusedError(reason, f"{error}, {len(data)} bytes") from None
    return image


def _repair_reason(name: str, data: bytes, image: Image.Image) -> str | None:
    """Return why the bytes cannot stay, or None for a JPEG with grey or colour pixels."""
    if data.startswith(PNG_START):
        return "not_jpeg" if name.lower().endswith(".png") else "format_mismatch"
    return None if image.mode in ("L", "RGB") else "cmyk" if image.mode == "CMYK" else f"mode_{image.mode.lower()}"


def _rgb(image: Image.Image) -> Image.Image:
    """Return three 8-bit channels; 16-bit grey is scaled, since a plain conversion would clip it."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray((np.asarray(image).astype(np.float64) / 257).clip(0, 255).round().astype(np.uint8))
    return image.convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
