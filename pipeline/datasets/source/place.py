"""Where a file's bytes lie, and how to get them.

Places are small and picklable: there is one for every raw file.
"""

import errno
import gzip
import zipfile
import zlib
from typing import NamedTuple, Protocol

from pipeline.datasets.images import RefusedError

LOCAL_HEADER = 30  # bytes before the name of a zip's member
LOCAL_START = b"PK\x03\x04"


class FilePlace(Protocol):
    """The bytes of one file, wherever they lie."""

    def __hash__(self) -> int:
        """Places of the same bytes are equal."""

    @property
    def file(self) -> str:
        """The file on disk that holds them."""

    @property
    def size(self) -> int:
        """How many they are, unpacked."""

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            OSError: the disk does not give them, or they are not as many as were listed.
            RefusedError: damaged_member, where an archive's member is not what the archive says
                about it.
        """


class Whole(NamedTuple):
    """A file of its own."""

    file: str
    size: int

    def read(self) -> bytes:
        """Return the file's bytes; raises OSError."""
        with open(self.file, "rb") as file:
            data = file.read()
        if len(data) != self.size:
            raise _changed(
                self.file, f"had {self.size} bytes when it was listed and now has {len(data)}"
            )
        return data


class Stored(NamedTuple):
    """A stretch of a file: the member of a tar, or of a tar in a tar."""

    file: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the member's bytes; raises OSError."""
        return _stretch(self.file, self.offset, self.size)


class Unzipped(NamedTuple):
    """A stretch of what a gzip file unpacks to.

    All before it is unpacked too, so this is for small files.
    """

    file: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the member's bytes; raises OSError."""
        try:
            with gzip.open(self.file) as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except (EOFError, zlib.error) as error:
            raise _changed(self.file, str(error)) from None
        if len(data) != self.size:
            raise _changed(self.file, "is shorter than when it was listed")
        return data


class Zipped(NamedTuple):
    """The member of a zip: `offset` is that of its local header, `packed` the bytes that it takes
    up.
    """

    file: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int

    def read(self) -> bytes:
        """Return the member's bytes, checked against their CRC; no more is inflated than the size
        declared.

        Raises:
            OSError: the disk does not give them.
            RefusedError: damaged_member.
        """
        header = _stretch(self.file, self.offset, LOCAL_HEADER)
        if not header.startswith(LOCAL_START):
            raise RefusedError("damaged_member", f"no header at byte {self.offset} of the archive")

        named = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        data = _stretch(self.file, self.offset + LOCAL_HEADER + named, self.packed)
        if self.method == zipfile.ZIP_DEFLATED:
            data = self._inflated(data)

        if len(data) != self.size:
            raise RefusedError("damaged_member", f"{len(data)} bytes, the archive says {self.size}")
        if zlib.crc32(data) != self.crc:
            raise RefusedError(
                "damaged_member", f"CRC {zlib.crc32(data):08x}, the archive says {self.crc:08x}"
            )
        return data

    def _inflated(self, packed: bytes) -> bytes:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(packed, self.size + 1)
        except zlib.error as error:
            raise RefusedError("damaged_member", str(error)) from None
        if not inflater.eof:
            raise RefusedError(
                "damaged_member", f"its data do not end with the {self.size} bytes that it declares"
            )
        return data


def _stretch(path: str, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` on."""
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        data = file.read(size)
        while len(data) < size and (more := file.read(size - len(data))):
            # one read gives 2 GiB at most
            data += more

    if len(data) != size:
        raise _changed(path, f"ends before byte {offset + size}, which it had when it was listed")
    return data


def _changed(path: str, how: str) -> OSError:
    return OSError(errno.ESTALE, how, path)
