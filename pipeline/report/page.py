"""The blocks of a report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path

from pipeline.report.document import (
    Block,
    Bullets,
    Figure,
    Folded,
    Heading,
    Paragraph,
    Span,
    Table,
    spans,
)

TEMPLATE = Path(__file__).parent / "page.html.j2"
NOTICE, NUMBER = ' class="notice"', ' class="n"'


def to_html(blocks: list[Block], pictures: Path) -> str:
    """Write blocks as a page; pictures are read from a folder and become part of it."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    title = next(block.text for block in blocks if isinstance(block, Heading))
    sections = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    return environment.from_string(TEMPLATE.read_text()).render(
        title=title,
        contents=[(_anchor(heading.text), heading.text) for heading in sections],
        body=Markup("\n".join(_html(block, pictures) for block in blocks)),
    )


def inline(text: str) -> str:
    """Escape text and turn its marks into tags."""
    return "".join(_span(span) for span in spans(text))


def _span(span: Span) -> str:
    match span.mark:
        case "plain":
            return escape(span.text)
        case "code":
            return f"<code>{escape(span.text)}</code>"
        case "bold":
            return f"<strong>{inline(span.text)}</strong>"
        case "words":
            return f'<a href="{escape(span.target)}">{inline(span.text)}</a>'


def _html(block: Block, pictures: Path) -> str:
    match block:
        case Heading(level, text):
            return f'<h{level} id="{_anchor(text)}">{inline(text)}</h{level}>'
        case Paragraph(text, notice):
            return f"<p{NOTICE if notice else ''}>{inline(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>"
        case Figure(file, caption):
            data = base64.b64encode((pictures / file).read_bytes()).decode()
            spoken = escape(caption.replace("`", ""))
            picture = f'<img src="data:image/png;base64,{data}" alt="{spoken}">'
            return f"<figure>{picture}<figcaption>{inline(caption)}</figcaption></figure>"
        case Folded(summary, inner):
            inside = "\n".join(_html(part, pictures) for part in inner)
            return f"<details><summary>{inline(summary)}</summary>\n{inside}\n</details>"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    head = "".join(_cell("th", column, text, table) for column, text in enumerate(table.head))
    rows = [
        "".join(_cell("td", column, text, table) for column, text in enumerate(row))
        for row in table.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    # Focusable, so that the keyboard can scroll it too.
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll" tabindex="0"><table>\n{inside}</table></div>'


def _cell(tag: str, column: int, text: str, table: Table) -> str:
    return f"<{tag}{NUMBER if column in table.numbers else ''}>{inline(text)}</{tag}>"


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
