"""The one exception whose message is meant for the user."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, where, and what to do."""


class Unreadable(UserError):
    """Data that this process failed to read and others may have read: ranks cannot go on by themselves after it."""


class DiskFull(UserError):
    """A file found no room; what lay under its name before is intact."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says where a disk, a quota or the limit of a file's size is reached."""


def disk_full(error: OSError, path: object = None, needed: int | None = None) -> DiskFull | None:
    """Return the sentence for a write of `needed` bytes to `path` that found no room; None for any other error."""
    if error.errno not in FULL:
        return None
    size = "" if needed is None else f", which needs {needed:,} bytes"
    return DiskFull(
        f"no room for {path or error.filename or 'a file'}{size} ({error.strerror}); make room and give the same "
        "command again: nothing half-written was left, and what was there before is intact"
    )


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of choices where nothing is near."""
    known = sorted(choices)
    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def discreet(text: str) -> str:
    """Return a text without what URLs in it may keep secret: users, passwords and queries."""
    return re.sub(r"([a-z]+://)(?:[^/@\s'\"]*@)?([^\s'\"?#,]*)(?:[?#][^\s'\"]*)?", r"\1\2", text)
