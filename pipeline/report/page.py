"""The blocks of a report as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from hashlib import sha256
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
    anchor,
    spans,
)
from pipeline.report.vector import inlined

TEMPLATE = Path(__file__).parent / "page.html.j2"
SCRIPT = Path(__file__).parent / "page.js"
NOTICE = ' class="notice"'
NUMBER = ' class="n"'


def to_html(blocks: list[Block], pictures: Path) -> str:
    """Write blocks as a page; pictures are read from a folder and become part of it."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )

    title = next(block.text for block in blocks if isinstance(block, Heading))
    sections = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    first = blocks.index(sections[0])
    script = SCRIPT.read_text()
    top, rest = (
        Markup("\n".join(_html(block, pictures) for block in half))
        for half in (blocks[:first], blocks[first:])
    )

    return environment.from_string(TEMPLATE.read_text()).render(
        title=title,
        contents=[(anchor(heading.text), heading.text) for heading in sections],
        top=top,
        rest=rest,
        script=Markup(script),
        digest=f"sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}",
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
            return f'<h{level} id="{anchor(text)}">{inline(text)}</h{level}>'
        case Paragraph(text, notice):
            return f"<p{NOTICE if notice else ''}>{inline(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>"
        case Figure(file, caption, values):
            picture = _picture(pictures / file, f"{caption} {values}".replace("`", "").strip())
            return f"<figure>{picture}<figcaption>{inline(caption)}</figcaption></figure>"
        case Folded(summary, inner):
            inside = "\n".join(_html(child, pictures) for child in inner)
            return f"<details><summary>{inline(summary)}</summary>\n{inside}\n</details>"
        case Table():
            return _table(block)


def _picture(file: Path, spoken: str) -> str:
    if file.suffix == ".svg":
        drawn = inlined(file.read_text(), anchor(file.stem), spoken)
        return f'<div class="picture" tabindex="0">{drawn}</div>'

    data = base64.b64encode(file.read_bytes()).decode()
    suffix = file.suffix.removeprefix(".")
    return f'<img src="data:image/{suffix};base64,{data}" alt="{escape(spoken)}" loading="lazy">'


def _table(table: Table) -> str:
    columns = range(len(table.head))
    numbers = [NUMBER if column in table.numbers else "" for column in columns]

    # Roles are said, since a table whose cells are laid out as blocks loses its own.
    head = "".join(
        f'<th role="columnheader" scope="col"{numbers[column]}>{inline(table.head[column])}</th>'
        for column in columns
    )
    body = "\n".join(
        f'<tr role="row">{"".join(_cell(row, column, numbers[column]) for column in columns)}</tr>'
        for row in table.rows
    )

    caption = f"<caption>{inline(table.caption)}</caption>\n" if table.caption else ""
    top = f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
    inside = f'{caption}{top}\n<tbody role="rowgroup">\n{body}\n</tbody>'
    # Focusable, so that the keyboard can scroll it too.
    return (
        f'<div class="scroll {table.kind}" tabindex="0"><table role="table">\n'
        f"{inside}</table></div>"
    )


def _cell(row: list[str], column: int, number: str) -> str:
    if column == 0:
        return f'<th role="rowheader" scope="row"{number}>{inline(row[0])}</th>'
    return f'<td role="cell"{number}>{inline(row[column])}</td>'
