"""Writing one shard: equal samples give equal bytes, whenever and wherever that happens."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.shards import tar

INDEX_TYPE = np.dtype([("offset", "<u8"), ("image", "<u4"), ("target", "<u4")])
"""One sample in an index: where its first header starts in the shard, and the bytes of its two
members.
"""
PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_MEMBER = "jpg"
PNG_MEMBER = "image.png"
"""Extensions of a sample's image.

A key ends at the first dot, and KEY.png is a mask, so a PNG has one of two parts.
"""


@dataclass(frozen=True)
class ShardMember:
    """A sample ready to be stored: its key, image and target as bytes, and the indices of the
    classes that it shows.
    """

    key: str
    image: bytes
    target: bytes
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Written:
    """A finished shard: digest, bytes, samples per class, and its part of the index (one row a
    sample).
    """

    sha256: str
    bytes: int
    classes: list[int]
    index: NDArray[np.void]


def image_member(data: bytes) -> str:
    """Return the extension under which an image's bytes are stored."""
    return PNG_MEMBER if data.startswith(PNG_START) else JPEG_MEMBER


def write_shard(path: Path, members: Iterable[ShardMember], target: str, classes: int) -> Written:
    """Write samples as a tar; it appears under its name when it is whole and on disk.

    Args:
        path: the tar to write.
        members: samples in their order.
        target: extension of the target's member, e.g. `cls`.
        classes: how many classes there are.

    Raises:
        OSError: the disk takes no more; it carries the shard's name.
    """
    digest = hashlib.sha256()
    offset = 0
    counts = [0] * classes
    rows = []
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")

    try:
        with open(beside, "wb", buffering=1 << 20) as file:

            def put(data: bytes) -> None:
                file.write(data)
                digest.update(data)

            for member in members:
                rows.append((offset, len(member.image), len(member.target)))
                for extension, data in (
                    (image_member(member.image), member.image),
                    (target, member.target),
                ):
                    padding = tar.padded(len(data)) - len(data)
                    put(tar.header(f"{member.key}.{extension}", len(data)) + data + b"\0" * padding)
                    offset += tar.BLOCK + len(data) + padding
                for index in member.classes:
                    counts[index] += 1
            put(tar.END)
            file.flush()
            os.fsync(file.fileno())
        # on disk before it has its name: a tar of this name is whole
        os.replace(beside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # writing names no file, opening does
        raise
    finally:
        beside.unlink(missing_ok=True)

    return Written(
        digest.hexdigest(), offset + len(tar.END), counts, np.array(rows, dtype=INDEX_TYPE)
    )
