"""The one exception whose message is meant for the user."""

import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input: one sentence that says what is wrong, where, and what to do."""


class Unreadable(UserError):
    """Data that this process failed to read and others may have read: ranks cannot go on by themselves after it."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of choices where nothing is near."""
    known = sorted(choices)
    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def discreet(text: str) -> str:
    """Return a text without what URLs in it may keep secret: users, passwords and queries."""
    return re.sub(r"(?<=[\w+.-]://)(?:[^/@\s'\"]*@)?([^\s'\"?#,]*)(?:[?#][^\s'\"]*)?", r"\1", text)


def shortened(text: str, most: int = 60) -> str:
    """Return a text of about `most` letters on one line: the middle left out, what cannot be printed escaped."""
    short = text if len(text) <= most else f"{text[: most * 2 // 3]}...{text[-most // 4 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in short)
