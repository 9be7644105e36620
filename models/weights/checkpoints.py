"""Reading a `torch.save` file of somebody else without running anything that is in it.

The authors' files hold, beside the weights, a pickled configuration whose class
(`yacs.config.CfgNode`) need not be installed here. `torch.load(weights_only=True)` refuses such
files, and without it unpickling calls whatever the file names. Both forms of such a file are
simple: a pickle that describes tensors, and the bytes of their storages, in a zip archive or one
after the other. They are read here, the pickle by `models.weights.unpickling`.
"""

from __future__ import annotations

import os
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from models.weights.unpickling import LIMIT, CodeInFile, unpickle

__all__ = ["CodeInFile", "read_checkpoint"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def read_checkpoint(path: Path) -> Any:
    """Read a file of `torch.save`, in its zip form or the older plain one, to the CPU.

    Returns:
        What was saved: tensors without gradients, numbers, texts and plain containers. Objects of
        other classes are empty shells.

    Raises:
        CodeInFile: the file asks for a call that reading weights does not need; nothing was called.
        ValueError: it is no checkpoint, or not a whole one.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        if not zipped and tarfile.is_tarfile(path):
            raise CodeInFile(
                "it has the tar layout of the first torch versions; load and save it again with "
                "a newer"
            )

        try:
            return _read_zip(file) if zipped else _read_plain(file)
        except (CodeInFile, OSError):
            raise
        except Exception as error:  # a broken pickle fails in any way it likes
            raise ValueError(
                f"it is no whole checkpoint of torch.save ({type(error).__name__})"
            ) from None


@dataclass
class _Storages:
    """The storages that a pickle describes, as flat tensors by key; together no larger than the
    file.
    """

    room: int
    flat: dict[str, Tensor] = field(default_factory=dict)

    def get(self, description: tuple[Any, ...]) -> Tensor:
        """Return the storage of a description: type, key, device, elements, and in old files a part
        of it.
        """
        storage_type, key, _, count, *view = description
        dtype = _DTYPES[storage_type.name]

        if key not in self.flat:
            self.room -= count * dtype.itemsize
            if count < 0 or self.room < 0:
                raise ValueError("its tensors are larger than the file")
            self.flat[key] = torch.empty(count, dtype=dtype)

        flat = self.flat[key]
        if (flat.dtype, len(flat)) != (dtype, count):
            raise ValueError("it describes a storage twice")
        if view and view[0] is not None:
            _, start, length = view[0]
            return flat[start : start + length]
        return flat


def _read_zip(file: BinaryIO) -> Any:
    """Read the form of today: a member for the pickle, and one for each storage, none of them
    compressed.
    """
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}

    if "constants.pkl" in members:
        raise CodeInFile(
            "it is a TorchScript program, not weights; save its state_dict and use that file"
        )
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise ValueError("it is compressed")
    if members["data.pkl"].file_size > LIMIT:
        raise ValueError("its pickle is larger than weights need")

    storages = _Storages(size)
    start, length = _place(file, members["data.pkl"])
    file.seek(start)
    content = unpickle(BytesIO(file.read(length)), _TENSORS, storages.get)
    swapped = _read_text(file, members.get("byteorder"), sys.byteorder) != sys.byteorder

    for key, flat in storages.flat.items():
        start, length = _place(file, members[f"data/{key}"])
        if length != flat.nbytes:
            raise ValueError("a storage has another length than its tensor")
        file.seek(start)
        _fill(file, flat)
        if swapped:
            flat.untyped_storage().byteswap(flat.dtype)
    return content


def _place(file: BinaryIO, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Return where a member's bytes begin, and how many they are; checksums may be left out in such
    files.
    """
    file.seek(info.header_offset)
    name, extra = struct.unpack("<26x2H", file.read(30))
    return info.header_offset + 30 + name + extra, info.file_size


def _read_text(file: BinaryIO, info: zipfile.ZipInfo | None, default: str) -> str:
    if info is None:
        return default
    start, _ = _place(file, info)
    file.seek(start)
    return file.read(min(info.file_size, 10)).decode()


def _read_plain(file: BinaryIO) -> Any:
    """Read the form before torch 1.6: five pickles, then each storage behind its number of
    elements.
    """
    storages = _Storages(os.fstat(file.fileno()).st_size)
    head = BytesIO(file.read(LIMIT))
    if (_unpickle_plain(head), _unpickle_plain(head)) != (_MAGIC, _PROTOCOL):
        raise ValueError("it does not begin as one")
    _unpickle_plain(head)  # about the machine that wrote it
    content = unpickle(head, _TENSORS, storages.get)
    keys = _unpickle_plain(head)
    if set(keys) != set(storages.flat):
        raise ValueError("it has other storages than its tensors need")

    file.seek(head.tell())
    for key in keys:
        flat = storages.flat[key]
        if struct.unpack("<q", file.read(8)) != (len(flat),):
            raise ValueError("a storage has another length than its tensor")
        _fill(file, flat)
    return content


def _unpickle_plain(head: BytesIO) -> Any:
    def none(_: tuple[Any, ...]) -> Any:
        raise ValueError("there is a storage where none belongs")

    return unpickle(head, {}, none)


def _fill(file: BinaryIO, flat: Tensor) -> None:
    """Read a storage's bytes from where the file stands."""
    if flat.nbytes and file.readinto(flat.view(torch.uint8).numpy()) != flat.nbytes:  # type: ignore[attr-defined]
        raise ValueError("it ends within a storage")


def _tensor(flat: Tensor, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    """Make a tensor of a storage; what would be a hook or metadata of it is left in the file."""
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is no tensor")
    return data


def _size(numbers: Any = ()) -> tuple[int, ...]:
    if not all(type(number) is int for number in numbers):
        raise ValueError("a size is no number")
    return tuple(numbers)


_TENSORS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch", "Size"): _size,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
"""What rebuilds tensors, by the names that torch has for it."""
