"""A finished shard's record: written last, so that an interrupted conversion goes on from the
shards that have one.

A seal counts under its key alone, a digest of all that decides the shard's bytes, and for the very
tar that it was written for.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

from pipeline.core.files import digest, sha256_file, write_text

CODE = ("datasets", "shards")


def store(seal: Path, key: str, record: dict[str, Any]) -> None:
    """Write a shard's record; its tar has to be on disk already."""
    plain = json.loads(json.dumps(record))
    write_text(seal, json.dumps({"key": key, "record": plain, "digest": digest(plain)}))


def restore(seal: Path, key: str, tar: Path) -> dict[str, Any] | None:
    """Return the record of a shard that was finished under this key and is still whole, else
    None.
    """
    try:
        stored = json.loads(seal.read_bytes())
        record: dict[str, Any] = stored["record"]
        if stored["key"] != key or stored["digest"] != digest(record):
            return None

        written = record["written"]
        if written is not None and (
            tar.stat().st_size != written["bytes"] or sha256_file(tar) != written["sha256"]
        ):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return record


@cache
def code() -> str:
    """Return a digest of the code that turns raw files into shards, and of the libraries that
    encode images.
    """
    package = Path(__file__).parents[1]
    versions = [
        PIL.__version__,
        str(features.version("jpg")),
        str(features.version("zlib")),
        np.__version__,
    ]

    return _joined([*versions, *_sources(package)])


def _sources(package: Path) -> Iterable[str]:
    for path in sorted(path for folder in CODE for path in (package / folder).rglob("*.py")):
        yield f"{path.relative_to(package)} {sha256_file(path)}"


def _joined(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
