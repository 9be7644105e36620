"""Names as file systems, archives and annotations have them: any bytes, in any Unicode form.

Python holds a byte that is not UTF-8 as half a surrogate pair, which neither JSON nor a terminal
takes. So paths stay as they are as long as files are opened by them, and are escaped where they are
written down.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress


def raw(name: str) -> bytes:
    """Return the bytes of a name, also of one that no file can have."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def escaped(name: str) -> str:
    r"""Return a name as text that can be stored anywhere: what is not UTF-8 in it as \xNN, half a
    pair as \uNNNN.
    """
    try:
        return os.fsencode(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()


def printable(name: str) -> str:
    """Return a name as one line for people: escaped, and what has no picture too."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped(name)
    )


def respelled(names: Collection[str], available: Collection[str]) -> dict[str, str]:
    """Find names that are there in another spelling; each is matched with one name that no other
    is.

    Spellings are Unicode's composed and decomposed forms, an extension in other letters (.JPG), a
    UTF-8 name that was read as code page 437 (as old unpackers do), and a name that is still in
    that code page or in Latin-1.

    Args:
        names: what somebody calls the files, e.g. annotations.
        available: what the files are called.

    Returns:
        The name there for each name that is not there itself and has one match alone.
    """
    exact = set(available)

    lacking = {name for name in names if name not in exact}
    if not lacking:
        return {}
    spoken_for = {name for name in names if name in exact}

    candidates: dict[str, set[str]] = {}
    for name in exact - spoken_for:
        for spelling in _spellings(name):
            candidates.setdefault(spelling, set()).add(name)

    requested: dict[str, set[str]] = {}
    for name in lacking:
        requested.setdefault(_canonical(name), set()).add(name)

    matches = {}
    for spelling, asking in requested.items():
        offered = candidates.get(spelling, set())
        if len(asking) == len(offered) == 1:
            matches[min(asking)] = min(offered)

    taken = Counter(matches.values())
    return {name: match for name, match in matches.items() if taken[match] == 1}


def _canonical(name: str) -> str:
    stem, suffix = os.path.splitext(unicodedata.normalize("NFC", name))
    return stem + suffix.lower()


def _spellings(name: str) -> Iterator[str]:
    """Yield what a file's name may mean."""
    yield _canonical(name)
    with suppress(UnicodeError):
        yield _canonical(name.encode("cp437").decode())  # UTF-8 that was taken for the code page

    data = raw(name)
    try:
        data.decode()
    except UnicodeDecodeError:
        yield _canonical(data.decode("cp437"))
        yield _canonical(data.decode("latin-1"))
