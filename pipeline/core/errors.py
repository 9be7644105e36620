"""The one exception whose message is meant for the user."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import unquote


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, where, and what to do."""


class Unreadable(UserError):
    """Data that this process failed to read and others may have read: ranks cannot go on by
    themselves after it.
    """


class DiskFull(UserError):
    """A file found no room; what lay under its name before is intact."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says where a disk, a quota or the limit of a file's size is reached."""


def disk_full(error: OSError, path: object = None, needed: int | None = None) -> DiskFull | None:
    """Return the sentence for a write of `needed` bytes to `path` that found no room; None for any
    other error.
    """
    if error.errno not in FULL:
        return None
    size = "" if needed is None else f", which needs {needed:,} bytes"
    return DiskFull(
        f"no room for {path or error.filename or 'a file'}{size} ({error.strerror}); make room "
        "and give the same "
        "command again: nothing half-written was left, and what was there before is intact"
    )


DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What a system says where this user may not read or write."""


def denied(error: OSError) -> UserError | None:
    """Return the sentence for a file that this user has no right to; None for any other error."""
    if error.errno not in DENIED or error.filename is None:
        return None
    return UserError(
        f"{shortened(str(error.filename), 300)} cannot be used ({error.strerror}); let this user "
        "read and write there (for what lies in ~/.cache, XDG_CACHE_HOME names another folder)"
    )


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of choices where nothing is near."""
    names = sorted(choices)
    close = get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def discreet(text: str, *addresses: str) -> str:
    """Return a text without what addresses in it may keep secret: users, passwords and queries.

    Args:
        text: a sentence of ours, or a library's message.
        addresses: whose user, password and queries are blanked wherever else they stand in the
            text.
    """
    for address in addresses:
        for secret in _secrets(address):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return re.sub(r"(?<=[\w+.-]://)[^\s'\"<>]+", lambda match: _bare(match[0]), text)


def bare_address(address: str) -> str:
    """Return an address without user, password and query."""
    scheme, sign, rest = address.partition("://")
    return f"{scheme}://{_bare(rest)}" if sign else address


def shortened(text: str, most: int = 60) -> str:
    """Return a text of about `most` letters on one line: the middle left out, what cannot be
    printed escaped.
    """
    short = text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[-most // 4 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in short)


def _bare(rest: str) -> str:
    """Return host, port and path.

    An `@` behind an odd host may stand in a password that holds `/`, `?` or `#`.
    """
    if not re.fullmatch(r"(\[[\da-fA-F:.]+\]|[^@:]*)(:\d*)?", re.split(r"[/?#]", rest)[0]):
        rest = rest.rpartition("@")[2]
    return re.split(r"[?#]", rest)[0]


def _secrets(address: str) -> list[str]:
    """Return what an address keeps secret, longest first; what is too short would blank half a
    sentence.
    """
    _, _, rest = address.partition("://")
    user, _, place = rest.rpartition("@")
    query = place.partition("?")[2]
    parts = [*user.split(":", 1), *(value.partition("=")[2] for value in re.split(r"[&#]", query))]
    plain = {part for text in parts for part in (text, unquote(text))}
    return sorted((part for part in plain if len(part) > 3), key=len, reverse=True)
