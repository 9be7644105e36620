"""Where a file's bytes lie, and how to get them. Places are small and picklable: there is one for every raw file."""

import errno
from typing import NamedTuple, Protocol


class Place(Protocol):
    """The bytes of one file, wherever they lie."""

    @property
    def size(self) -> int:
        """Bytes of the file, as they are counted when it is unpacked."""

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            OSError: the disk does not give them, or they are not as many as were listed.
            RefusedError: damaged_member, where an archive's member is not what the archive says about it.
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
            raise OSError(errno.ESTALE, f"had {self.size} bytes when it was listed and now has {len(data)}", self.file)
        return data
