"""Sample keys: the original file name where that is safe and unique, else a name made so by rule.

webdataset ends a key at the first dot of the base name, tar readers disagree about non-ASCII names,
and some file systems about case. So only letters, digits, `_` and inner `-` stand for themselves;
all else is percent-encoded.
"""

import hashlib
import os
import string
from collections import Counter
from collections.abc import Callable, Sequence

SAFE = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"_-")
LONGEST = 90  # bytes; a ustar name holds 100, extension included


def encode(name: str) -> str:
    """Return `name` with unsafe bytes as %XX; one too long keeps its start and ends in a digest of
    the whole.
    """
    raw = os.fsencode(name)
    text = "".join(chr(byte) if byte in SAFE else f"%{byte:02X}" for byte in raw)
    if text.startswith("-"):
        text = "%2D" + text[1:]
    if not text or len(text) > LONGEST:
        digest = hashlib.sha256(raw).hexdigest()[:16]
        text = f"{text[: LONGEST - 17]}-{digest}"
    return text


def assign(paths: Sequence[str]) -> list[str]:
    """Return a key for each path of a split, unique also where case is ignored; a pure function of
    the paths.

    A path starts with its bare stem. Those that collide add their folder, then the extension, then
    a digest.
    """
    levels = [0] * len(paths)
    while True:
        keys = [_LEVELS[level](path) for level, path in zip(levels, paths, strict=True)]
        times = Counter(key.casefold() for key in keys)
        clashing = [i for i, key in enumerate(keys) if times[key.casefold()] > 1]
        if not clashing:
            return keys

        rising = [i for i in clashing if levels[i] + 1 < len(_LEVELS)]
        if not rising:
            raise ValueError(f"paths repeat: {paths[clashing[0]]}")
        lowest = min(levels[i] for i in rising)
        for i in rising:
            levels[i] += levels[i] == lowest


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _with_folder(path: str) -> str:
    folder = os.path.basename(os.path.dirname(path))
    return f"{folder}-{_stem(path)}" if folder else _stem(path)


def _with_suffix(path: str) -> str:
    return f"{_with_folder(path)}-{os.path.splitext(path)[1].lstrip('.')}"


def _with_digest(path: str) -> str:
    return f"{_stem(path)[:20]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"


_LEVELS: tuple[Callable[[str], str], ...] = (
    lambda path: encode(_stem(path)),
    lambda path: encode(_with_folder(path)),
    lambda path: encode(_with_suffix(path)),
    lambda path: encode(_with_digest(path)),
)
