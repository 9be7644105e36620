"""Files that are read whole: class names and annotations. Their contents count in the listing's digest."""

import hashlib
import json
import math
from typing import Any, NoReturn

from pipeline.datasets.images import RefusedError
from pipeline.datasets.listing import Listing
from pipeline.errors import UserError


def read_bytes(listing: Listing, path: str) -> bytes:
    """Return a metadata file's bytes and note it as used."""
    try:
        data = listing.read(path)
    except OSError as error:
        raise UserError(f"cannot read {listing.tree.where(path)}: {error.strerror}") from None
    except RefusedError as error:
        raise UserError(f"cannot read {listing.tree.where(path)}: {error.reason}: {error.detail}") from None
    listing.metadata[path] = hashlib.sha256(data).hexdigest()
    return data


def read_text(listing: Listing, path: str) -> str:
    """Return a metadata file as text, without a byte order mark."""
    try:
        return read_bytes(listing, path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{listing.tree.where(path)} is not UTF-8 text: byte {error.start}") from None


def read_json(listing: Listing, path: str) -> Any:
    """Return a metadata file as JSON; NaN and infinities, which JSON does not know, are refused."""
    text = read_text(listing, path)
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{listing.tree.where(path)} is not whole JSON: {error.msg} in line {error.lineno}, "
            f"column {error.colno}, of {len(text)} characters"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{listing.tree.where(path)} is not usable JSON: {error}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value
