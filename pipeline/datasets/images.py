"""What an image file really is: checked in full, mended where that is harmless, refused by reason
otherwise.

Bytes of a sound JPEG or PNG are never touched, grey ones included (loading turns them into RGB); an
unreadable EXIF block is cut out of a JPEG, and only what a reader would stumble over is encoded
anew: a CMYK JPEG as JPEG, a PNG with a palette, transparency or 16 bits as a PNG of three 8-bit
channels, so that a lossless picture stays one. Pixels stay as they are stored: boxes and masks lie
in that frame, so an EXIF orientation is noted and not applied.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.core.pixels.jpeg import array, is_sound, strict_padded
from pipeline.core.pixels.native import Pixels
from pipeline.core.pixels.resize import resize
from pipeline.datasets.notes import brief

REPAIR_QUALITY = 95
LONGEST_JPEG = 65_500  # pixels of a side that an encoder takes
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24  # where a PNG says how many bits a channel has
PNG_END = b"IEND\xaeB`\x82"
EXIF_START = b"Exif\0\0"
ORIENTATION = 0x0112  # a tag of the EXIF standard
EXIF_TABLE = 0x8769  # another one
MODES = {
    "CMYK": "cmyk",
    "1": "mode_bilevel",
    "P": "mode_palette",
    "PA": "mode_palette",
    "LA": "mode_grey_alpha",
    "RGBA": "mode_alpha",
    "I": "mode_16_bit",
}
INDEX_MASK = "expected a mask with one 8-bit channel"
NAMED = "0 is ignored and objectInfo150.txt names 1 to {}"
Image.MAX_IMAGE_PIXELS = None  # the limit is `max_pixels`, checked here before a pixel is decoded


class RefusedError(Exception):
    """A file that cannot be used: a reason code, and what was seen."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Checked:
    """JPEG or PNG bytes that decode in full, their size in pixels, the reason code of a repair, and
    what was seen.
    """

    data: bytes
    width: int
    height: int
    repaired: str | None = None
    notes: tuple[str, ...] = ()


def check(
    name: str, data: bytes, max_pixels: int, short_side: int | None = None, quality: int = 90
) -> Checked:
    """Decode an image in full and return it as JPEG, or as PNG where it was one and does not
    shrink.

    Args:
        name: the file's name; a PNG that calls itself JPEG is told apart from one that does not.
        data: the bytes of the file, JPEG or PNG.
        max_pixels: refuse more than this many pixels, before decoding.
        short_side: shrink so that the shorter side has this many pixels; smaller images stay as
            they are.
        quality: JPEG quality for shrunk images.

    Raises:
        RefusedError: empty, not_an_image, too_many_pixels, too_large_for_jpeg, truncated, damaged.
    """
    if not data:
        raise RefusedError("empty")

    image, pixels = _decode(data, max_pixels, short_side)
    turned = _orientation(image)
    repaired = _repair_reason(name, data, image) or ("exif_bad" if turned is None else None)
    notes = ("exif_rotated",) if turned in range(2, 9) else ()
    shrink = short_side is not None and min(image.size) > short_side

    if short_side is not None and shrink:
        scale = short_side / min(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        source = array(rgb(image), 4) if pixels is None else pixels
        small = Image.fromarray(resize(source, size))
        small.info = image.info  # a comment is written again
        return Checked(_jpeg(small, quality), *size, repaired, notes)

    if data.startswith(PNG_START):
        data = data if repaired in (None, "format_mismatch") else _png(rgb(image))
    elif repaired is not None:
        data = without_exif(data) if repaired == "exif_bad" else _jpeg(rgb(image), REPAIR_QUALITY)

    return Checked(data, *image.size, repaired, notes)


def check_mask(data: bytes, size: tuple[int, int], largest: int, max_pixels: int) -> dict[int, int]:
    """Decode an index mask and return the values in it, ascending, with the pixels of each.

    Args:
        data: the bytes of a PNG with one channel.
        size: width and height of the image that it belongs to.
        largest: the largest label that has a name.
        max_pixels: refuse more than this many pixels, before decoding.

    Raises:
        RefusedError: mask_not_png, mask_channels, mask_depth, mask_size, mask_value, or as for
            images.
    """
    if not data:
        raise RefusedError("empty")
    if not data.startswith(PNG_START):
        raise RefusedError(
            "mask_not_png", f"{INDEX_MASK}: labels survive only lossless compression"
        )

    mask, _ = _decode(data, max_pixels)
    if mask.mode in ("1", "I", "I;16") or (mask.mode == "L" and data[PNG_DEPTH] != 8):
        # readers scale such greys
        raise RefusedError("mask_depth", f"{INDEX_MASK}, found {data[PNG_DEPTH]} bits a pixel")
    if mask.mode not in ("L", "P"):
        raise RefusedError("mask_channels", f"{INDEX_MASK}, found mode {mask.mode}")
    if mask.size != size:
        raise RefusedError(
            "mask_size", f"mask {mask.width}x{mask.height}, image {size[0]}x{size[1]}"
        )

    counts = {value: pixels for value, pixels in enumerate(mask.histogram()) if pixels}
    if unnamed := [value for value in counts if value > largest]:
        advice = (
            "; should 255 be ignored, write it as 0 and count classes from 1"
            if 255 in unnamed
            else ""
        )
        raise RefusedError("mask_value", f"{_values(unnamed)}; {NAMED.format(largest)}{advice}")

    return counts


def _values(values: list[int]) -> str:
    return f"value{'s' if len(values) > 1 else ''} {brief(values)}"


def _decode(
    data: bytes, max_pixels: int, short_side: int | None = None
) -> tuple[Image.Image, Pixels | None]:
    """Return an image whose every byte was decoded; its size is checked before any pixel is.

    Of a sound JPEG of a usual mode, Pillow's image is not loaded yet: the strict decoder read it,
    and gives the pixels where it is to shrink.
    """
    pixels = None
    if not data.startswith((JPEG_START, PNG_START)):
        raise RefusedError("not_an_image", f"neither JPEG nor PNG, starts with {data[:8]!r}")
    if data.startswith(PNG_START) and PNG_END not in data:
        # the decoder is content once it has all pixels
        raise RefusedError("truncated", f"no end marker, {len(data)} bytes")

    with warnings.catch_warnings():  # broken EXIF and large sizes only warn; neither matters here
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
            if image.width * image.height == 0:
                raise RefusedError("damaged", f"{image.width}x{image.height} pixels")
            if image.width * image.height > max_pixels:
                raise RefusedError(
                    "too_many_pixels",
                    f"{image.width}x{image.height}, shard.max_pixels allows {max_pixels}",
                )
            if image.mode in ("L", "RGB"):
                if short_side is not None and min(image.size) > short_side:
                    pixels = strict_padded(data)
                elif is_sound(data):
                    return image, None
            if pixels is None:
                image.load()
        except RefusedError:
            raise
        except UnidentifiedImageError:
            raise RefusedError("damaged", f"unreadable header, {len(data)} bytes") from None
        except (
            Exception
        ) as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error ...
            reason = "truncated" if "truncated" in str(error).lower() else "damaged"
            raise RefusedError(reason, f"{error}, {len(data)} bytes") from None

    return image, pixels


def _orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, 1 where there is none, or None where the EXIF block cannot be
    read whole.
    """
    if "exif" not in image.info:
        return 1

    # a fresh one: opening the image may have met the fault already, and it is told once
    exif = Image.Exif()

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all that Pillow says of a broken block
        try:
            exif.load(image.info["exif"])
            exif.get_ifd(EXIF_TABLE)
            return int(exif.get(ORIENTATION, 1))
        except Exception:  # whatever a parser of tags stumbles over
            return None


def without_exif(data: bytes) -> bytes:
    """Return a JPEG without its EXIF segments; every other byte stays, so the pixels do too."""
    kept = []
    start = 0
    at = len(JPEG_START) - 1
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data) and data[at + 1] != 0xDA:
        # up to 0xDA, the start of the scan
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:
            # padding and markers without a length
            at += 1
            continue

        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1 and data.startswith(EXIF_START, at + 4):
            kept.append(data[start:at])
            start = end
        at = end

    return b"".join([*kept, data[start:]])


def _repair_reason(name: str, data: bytes, image: Image.Image) -> str | None:
    """Return why the bytes or the name cannot stay, or None for 8-bit grey or colour pixels of the
    format named.
    """
    is_png = data.startswith(PNG_START)
    if image.mode not in ("L", "RGB"):
        return MODES.get(image.mode.partition(";")[0], "mode_other")
    if is_png and data[PNG_DEPTH] > 8:  # this decoder drops the lower bits, another would not
        return "mode_16_bit"
    return "format_mismatch" if is_png and not name.lower().endswith(".png") else None


def rgb(image: Image.Image) -> Image.Image:
    """Return three 8-bit channels; 16-bit grey is scaled, since a plain conversion would clip
    it.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint32)
        values *= 255  # in place, for an image of the largest size
        values += 32895
        values >>= 16  # the nearest whole number to value / 257
        image = Image.fromarray(values.astype(np.uint8))
    return image.convert("RGB")


def _png(image: Image.Image) -> bytes:
    """Return an image's pixels as a PNG that holds nothing else."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(out, "PNG")
    return out.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    if max(image.size) > LONGEST_JPEG:
        detail = (
            f"{image.width}x{image.height} after shard.short_side, a JPEG's sides have up "
            f"to {LONGEST_JPEG}"
        )
        raise RefusedError("too_large_for_jpeg", detail)

    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
