"""The batches of CIFAR-10's official archive: pickles that Python 2 wrote, read without running
anything that they name.

A batch is a dictionary with the labels and one NumPy array, a row of 3,072 bytes a photograph: its
red, green and blue plane of 32x32.
"""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.datasets.source.place import FilePlace

SIDE, CHANNELS = 32, 3
PHOTOGRAPH = SIDE * SIDE * CHANNELS
"""The bytes of a photograph's row."""
IN_MEMORY = 6  # batches of the official archive, 31 MB each: shuffled samples come from all


class Batch(NamedTuple):
    """What a batch says: the class index of each row, and the byte at which the first row
    starts.
    """

    labels: list[int]
    start: int


class Photograph(NamedTuple):
    """A row of a batch, as the PNG file that it would be."""

    batch: FilePlace
    start: int

    @property
    def file(self) -> str:
        """The file on disk that holds the batch."""
        return self.batch.file

    @property
    def size(self) -> int:
        """The bytes of the PNG."""
        return PNG_BYTES

    def read(self) -> bytes:
        """Return the PNG; raises OSError."""
        content = _content(self.batch)
        return png(content[self.start : self.start + PHOTOGRAPH])


@lru_cache(IN_MEMORY)
def _content(batch: FilePlace) -> bytes:
    """Return a whole batch, which is unpacked once a process."""
    return batch.read()


def read_batch(content: bytes, classes: int) -> Batch:
    """Read a batch.

    Raises:
        ValueError: it is not one.
    """
    fields = _unpickled(content)
    labels, array = fields.get(b"labels"), fields.get(b"data")
    if not isinstance(labels, list) or not isinstance(array, _Array):
        raise ValueError("a batch has `labels`, a list, and `data`, an array")
    rows = array.content
    if not isinstance(rows, bytes) or len(rows) != PHOTOGRAPH * len(labels):
        raise ValueError(f"{len(labels)} labels need {PHOTOGRAPH * len(labels)} bytes of `data`")
    if any(type(label) is not int or not 0 <= label < classes for label in labels):
        raise ValueError(f"a label is no whole number from 0 to {classes - 1}")
    return Batch(labels, content.index(rows))


def read_names(content: bytes) -> list[str]:
    """Return the names of the classes, in the order of their indices.

    Raises:
        ValueError: they are not names that folders could have, each once.
    """
    names = _unpickled(content).get(b"label_names")
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ValueError("it has no `label_names`, a list of names")
    decoded = [name.decode() for name in names]
    if len(set(decoded)) != len(decoded) or not all(map(_is_plain, decoded)):
        raise ValueError("`label_names` are letters, digits, spaces, - and _, each name once")
    return decoded


def png(planes: bytes) -> bytes:
    """Return a photograph as a PNG whose pixels are stored as they are, so that its bytes depend on
    no library.

    Args:
        planes: the red, green and blue plane, one after the other, `PHOTOGRAPH` bytes.
    """
    area = SIDE * SIDE
    pixels = bytearray(PHOTOGRAPH)
    for channel in range(CHANNELS):
        pixels[channel::CHANNELS] = planes[channel * area : (channel + 1) * area]

    line = SIDE * CHANNELS
    unfiltered = b"\0"  # how each line of a PNG begins
    lines = b"".join(unfiltered + pixels[at : at + line] for at in range(0, PHOTOGRAPH, line))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    stored = b"\x78\x01\x01" + struct.pack("<HH", len(lines), len(lines) ^ 0xFFFF) + lines
    packed = stored + struct.pack(">I", zlib.adler32(lines))
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


PNG_BYTES = len(png(bytes(PHOTOGRAPH)))


def _is_plain(name: str) -> bool:
    return (
        name.strip() == name and name.replace("_", "").replace("-", "").replace(" ", "").isalnum()
    )


class _Array:
    """Stands for a NumPy array while a pickle is read: keeps the bytes, makes no array of them."""

    content: object = None

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 5:  # version, shape, type, order, bytes
            self.content = state[4]


def _stand_in(*_: object) -> _Array:
    return _Array()


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _stand_in,
    ("numpy._core.multiarray", "_reconstruct"): _stand_in,
    ("numpy", "ndarray"): _stand_in,
    ("numpy", "dtype"): _stand_in,
}
"""What a batch names, and what stands for it here."""


class _Unpickler(pickle.Unpickler):
    """Knows no name but those of an array."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Return what stands for a name; raises UnpicklingError for any other."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch does")
        return ALLOWED[module, name]


def _unpickled(content: bytes) -> dict[Any, Any]:
    """Return the dictionary of a pickle.

    Raises:
        ValueError: it is no pickle, or not of a dictionary, or names something else than arrays.
    """
    try:
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # whatever garbled bytes make of an unpickler
        raise ValueError(str(error) or type(error).__name__) from None
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary")
    return value
