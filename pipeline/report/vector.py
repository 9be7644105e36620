"""Vector pictures as a part of the page, in the colours of its theme."""

from __future__ import annotations

import re
from html import escape

THEME = {
    "#ffffff": "var(--page)",
    "#000000": "var(--text)",
    "#3a424a": "var(--text)",
    "#59636e": "var(--quiet)",
    "#8a949e": "var(--quiet)",
    "#e3e7eb": "var(--line)",
    "#e6e9ee": "var(--line)",
}
"""What stands for a colour of `pipeline.plots.style` that is not one of a network."""
FOREIGN = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL
)
COLOUR = re.compile("|".join(THEME))
WORD = re.compile(r'(<text style="[^"]*fill: )(#[0-9a-f]{6})')
SHARE = 50
"""Per cent of its colour that a word in a network's colour keeps. The rest is that of the page's
text, so that it can be read on a light page and on a dark one.
"""
NAME = re.compile(r'(\bid="|url\(#|xlink:href="#)')


def inlined(svg: str, name: str, spoken: str) -> str:
    """Return a picture of Matplotlib's as an element of a page.

    Args:
        svg: the file's text.
        name: what tells its names from those of the page's other pictures.
        spoken: what it shows, for those who do not see it.
    """
    picture = FOREIGN.sub("", svg).strip()
    head, _, body = picture.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    body = COLOUR.sub(lambda colour: THEME[colour[0]], NAME.sub(rf"\1{name}-", body))
    body = WORD.sub(rf"\1color-mix(in srgb, \2 {SHARE}%, var(--text))", body)
    size = box[0] if box else ""
    return f'<svg {size} role="img" aria-label="{escape(spoken)}">{body}'
