"""The tar format as shards use it: one block of header, the bytes, zeros to a full block; nothing
that varies.

Headers hold no time, user or host, so equal members are equal bytes; a reader can rebuild the
header that it expects.
"""

BLOCK = 512
END = b"\0" * (2 * BLOCK)
BEFORE_SIZE = b"0000644\0" + b"0000000\0" + b"0000000\0"  # mode, user, group
AFTER_SIZE = b"\0" + b"00000000000\0"  # end of the size, time
# a regular file, no link, the format's name
REST = (b"0" + b"\0" * 100 + b"ustar\x0000").ljust(BLOCK - 156, b"\0")
# the checksum counts its own field as spaces
FIXED = sum(BEFORE_SIZE) + sum(AFTER_SIZE) + 8 * ord(" ") + sum(REST)


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
    digits = b"%011o" % size
    checksum = b"%06o\0 " % (FIXED + sum(raw) + sum(digits))
    return raw.ljust(100, b"\0") + BEFORE_SIZE + digits + AFTER_SIZE + checksum + REST


def padded(size: int) -> int:
    """Return the bytes that a content of `size` takes up in whole blocks."""
    return -(-size // BLOCK) * BLOCK
