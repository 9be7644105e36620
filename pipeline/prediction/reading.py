"""Any image that a camera writes, upright and in RGB, or one sentence that says why not."""

import stat
import warnings
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.datasets.images import rgb

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What is read: no format whose reader starts another program."""
MOST_PIXELS = 100_000_000
"""The largest sensors but a few; a label map of so many pixels takes about 6 GB to make."""
LEAST_SIDE = 8
MOST_RATIO = 100
HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")


class UnreadableError(Exception):
    """A picture that cannot be used; its text says why."""


def read_picture(path: Path) -> Image.Image:
    """Return a picture in RGB, turned as its EXIF orientation says; of several frames the first.

    16-bit grey is scaled to 8 bits; of a transparent picture the colours are taken.

    Raises:
        UnreadableError: it is not there, is no picture, is damaged, or is too small or too large.
    """
    try:
        _refuse_what_is_no_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags, which change no pixel
            with Image.open(path, formats=_readable()) as image:
                _refuse_size(image.width, image.height)
                image.load()
                return rgb(_upright(image))
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError(_unknown(path)) from None
    except OSError as error:
        raise UnreadableError(
            error.strerror or f"it is cut off or damaged: {_line(error)}"
        ) from None
    except Exception as error:  # decoders raise SyntaxError, ValueError, struct.error, zlib.error
        raise UnreadableError(f"it is cut off or damaged: {_line(error)}") from None


@cache
def _readable() -> list[str]:
    """Return the formats that this installation of Pillow reads."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _refuse_what_is_no_file(path: Path) -> None:
    """Stop before anything is opened that is none: a pipe would wait for ever."""
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableError(f"it is not there ({error.strerror})") from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("it is no file")
    if not status.st_size:
        raise UnreadableError("it is empty")


def _refuse_size(width: int, height: int) -> None:
    """Stop before a pixel is decoded."""
    pixels = f"it has {width:,} x {height:,} pixels"
    if min(width, height) < LEAST_SIDE:
        raise UnreadableError(f"{pixels}, and a side needs at least {LEAST_SIDE}")
    if width * height > MOST_PIXELS:
        millions = f"{width * height / 1e6:,.0f} million"
        raise UnreadableError(
            f"{pixels}, {millions}, and at most {MOST_PIXELS // 10**6} million are read; "
            "make it smaller"
        )
    if max(width, height) > MOST_RATIO * min(width, height):
        raise UnreadableError(f"{pixels}, and is more than {MOST_RATIO} times as long as wide")


def _upright(image: Image.Image) -> Image.Image:
    """Return the picture as its camera was held; as it is stored where its EXIF block is broken."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # whatever a parser of tags stumbles over
        return image


def _unknown(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:12] in HEIC:
        return "it is an HEIC picture, which is not read here; save it as JPEG"
    return f"it is no picture of a known format ({', '.join(_readable())})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
