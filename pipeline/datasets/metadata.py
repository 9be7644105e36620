"""Files that are read whole: class names and annotations.

Their contents count in the listing's digest.
"""

import hashlib
import json
import math
from typing import Any, NoReturn

from pipeline.core.errors import UserError
from pipeline.datasets.images import RefusedError
from pipeline.datasets.listing import Listing

MOST_TEXT = 64_000_000
MOST_JSON = 2_000_000_000
"""Bytes that are read into memory at once: lists of names, and annotations (COCO's largest file has
448 MB).
"""


def read_bytes(listing: Listing, path: str, most: int = MOST_TEXT) -> bytes:
    """Return a metadata file's bytes and note it as used.

    Raises:
        UserError: the file cannot be read, or has more than `most` bytes.
    """
    size = listing.tree.files[path].size
    if size > most:
        raise UserError(
            f"{listing.tree.where(path)} has {size:,} bytes; such a file may have {most:,}"
        )

    try:
        data = listing.read(path)
    except OSError as error:
        raise UserError(
            f"cannot read {listing.tree.where(path)}: {error.strerror} (errno {error.errno})"
        ) from None
    except RefusedError as error:
        raise UserError(
            f"cannot read {listing.tree.where(path)}: {error.reason} {error.detail}"
        ) from None

    listing.metadata[path] = hashlib.sha256(data).hexdigest()
    return data


def read_text(listing: Listing, path: str, most: int = MOST_TEXT) -> str:
    """Return a metadata file as text, without a byte order mark.

    Raises:
        UserError: as for its bytes, or they are not UTF-8.
    """
    try:
        return read_bytes(listing, path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{listing.tree.where(path)} is not UTF-8 text: byte {error.start}; save it as UTF-8"
        ) from None


def read_json(listing: Listing, path: str, finite: bool = True) -> Any:
    """Return a metadata file as JSON.

    Args:
        listing: what the file belongs to.
        path: the file, relative to the root.
        finite: refuse NaN and infinities, which JSON does not know; without it the caller looks at
            each number.

    Raises:
        UserError: as for its text, or it is not JSON.
    """
    text = read_text(listing, path, MOST_JSON)

    try:
        return json.loads(
            text,
            parse_constant=_refuse if finite else None,
            parse_float=_finite if finite else None,
        )
    except json.JSONDecodeError as error:
        raise UserError(
            f"{listing.tree.where(path)} is not whole JSON: {error.msg} in line {error.lineno}, "
            f"column {error.colno} "
            f"(character {error.pos} of {len(text)}); copy or write it again"
        ) from None
    except RecursionError:
        raise UserError(
            f"{listing.tree.where(path)} is not usable JSON: nested too deeply"
        ) from None
    except ValueError as error:
        raise UserError(f"{listing.tree.where(path)} is not usable JSON: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value
