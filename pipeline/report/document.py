"""A report as a list of blocks, and the same blocks as Markdown.

Text carries three marks, the same in Markdown and HTML: `code`, **bold** and [words](target); a
backslash takes its meaning from the character after it. Text from outside, which is all that stands
in files of results, comes in through `code` or `plain`, and nothing but these marks ever becomes
markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

MARK = re.compile(
    r"\\(?P<plain>[^\w\s])"
    r"|`(?P<code>[^`]*)`"
    r"|\*\*(?P<bold>(?:`[^`]*`|\\.|[^\\`])+?)\*\*"
    r"|\[(?P<words>(?:`[^`]*`|\\.|[^\]\\`])+)\]\((?P<target>[^)\s]+)\)"
)
TARGET = re.compile(r"https?://[^\\]*|#[^\\]*|[^:/?#\\]+(?:/[^\\]*)?")
"""Where a link may lead: a page of the web, a place in the report, or a file beside it."""

MARKUP = re.compile(r"<|\]\(")
"""What some reader of Markdown might take for markup inside of code, too."""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `notice` sets it apart from the rest."""

    text: str
    notice: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: list[str]


@dataclass(frozen=True)
class Table:
    """A table; `numbers` names the columns, from 0, that are aligned to the right.

    `kind` is how a page shows it: `answers` as cards on a phone, `results` with a filter and heads
    that sort.
    """

    head: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = frozenset()
    caption: str = ""
    kind: Literal["plain", "answers", "results"] = "plain"


@dataclass(frozen=True)
class Figure:
    """A picture that lies beside the report; `values` is what it shows, for who cannot see it."""

    file: str
    caption: str
    values: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: list[Block] = field(default_factory=list)


Block = Heading | Paragraph | Bullets | Table | Figure | Folded


@dataclass(frozen=True)
class Span:
    """A piece of text under one mark; `target` is where a link leads."""

    mark: Literal["plain", "code", "bold", "words"]
    text: str
    target: str = ""


def spans(text: str) -> Iterator[Span]:
    """Split text at its marks; a link that may not lead where it does is plain text."""
    at = 0
    for mark in MARK.finditer(text):
        yield Span("plain", text[at : mark.start()])
        at = mark.end()
        if mark["plain"] is not None:
            yield Span("plain", mark["plain"])
        elif mark["code"] is not None:
            yield Span("code", mark["code"])
        elif mark["bold"] is not None:
            yield Span("bold", mark["bold"])
        elif TARGET.fullmatch(mark["target"]):
            yield Span("words", mark["words"], mark["target"])
        else:
            yield Span("plain", mark[0])
    yield Span("plain", text[at:])


def anchor(heading: str) -> str:
    """Return the name under which a heading is linked to."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def code(text: str) -> str:
    """Mark text from outside as code, so that nothing in it is read as a mark."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def plain(text: object) -> str:
    """Return text from outside so that nothing in it is read as a mark."""
    return re.sub(r"[\\`*\[\]()]", r"\\\g<0>", " ".join(str(text).split()))


def to_markdown(blocks: list[Block]) -> str:
    """Write blocks as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_inline(text)}"
        case Paragraph(text, notice):
            return f"> {_inline(text)}" if notice else _inline(text)
        case Bullets(items):
            return "\n".join(f"- {_inline(item)}" for item in items)
        case Figure(file, caption, _):
            return f"![{_inline(caption)}]({quote(file)})\n\n*{_inline(caption)}*"
        case Folded(summary, inner):
            opened = f"<details><summary>{_inline(summary)}</summary>"
            return f"{opened}\n\n{to_markdown(inner)}\n</details>"
        case Table():
            return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = ["---:" if column in table.numbers else "---" for column in range(len(table.head))]
    lines = [
        [_cell(cell) for cell in table.head],
        rule,
        *([_cell(cell) for cell in row] for row in table.rows),
    ]

    written = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{written}\n\n*{_inline(table.caption)}*" if table.caption else written


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")


def _inline(text: str) -> str:
    """Write the marks, and everything else so that Markdown has no meaning for it."""
    return "".join(_span(span) for span in spans(text)).replace("\\](", "\\]\\(")


def _span(span: Span) -> str:
    match span.mark:
        case "plain":
            text = re.sub(r"[\\`*\[\]]", r"\\\g<0>", re.sub(r"\s+", " ", span.text))
            return text.replace("&", "&amp;").replace("<", "&lt;")
        case "code":
            return _code(span.text)
        case "bold":
            return f"**{_inline(span.text)}**"
        case "words":
            return f"[{_inline(span.text)}]({span.target.replace('<', '%3C')})"


def _code(text: str) -> str:
    """Return a span of code; where it holds what looks like markup, its characters are named by
    their numbers.
    """
    if not MARKUP.search(text):
        return f"`{text}`"
    return (
        "<code>"
        + re.sub(r"[^\w\s.,:;/=+()'-]", lambda sign: f"&#{ord(sign[0])};", text)
        + "</code>"
    )
