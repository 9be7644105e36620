"""The tar format as shards use it: one block of header, the bytes, zeros to a full block; nothing that varies.

Headers hold no time, user or host, so equal members are equal bytes; a reader can rebuild the header that it expects.
"""

from functools import lru_cache

BLOCK = 512
END = b"\0" * (2 * BLOCK)


def header(name: str, size: int) -> bytes:
    """Return the ustar header of a regular file.

    Args:
        name: ASCII, at most 100 characters.
        size: bytes of content, below 8 GiB.

    Raises:
        ValueError: the name or size does not fit the format.
    """
    raw = name.encode("ascii")
    if not 0 < len(raw) <= 100 or not 0 <= size < 8**11:
        raise ValueError(f"no room in a ustar header for {name!r} with {size} bytes")
    block = bytearray(_template())
    block[: len(raw)] = raw
    block[124:135] = b"%011o" % size
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)  # the checksum counts its own field as spaces
    return bytes(block)


@lru_cache(maxsize=1)
def _template() -> bytes:
    """Return a header with name, size and checksum left out."""
    mode, owner, group, size, time = b"0000644\0", b"0000000\0", b"0000000\0", b"\0" * 12, b"00000000000\0"
    start = b"\0" * 100 + mode + owner + group + size + time + b"\0" * 8 + b"0" + b"\0" * 100 + b"ustar\x0000"
    return start.ljust(BLOCK, b"\0")


def padded(size: int) -> int:
    """Return the bytes that a content of `size` takes up in whole blocks."""
    return -(-size // BLOCK) * BLOCK
