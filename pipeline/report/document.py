"""A report as a list of blocks, and the same blocks as Markdown.

Text carries three marks, the same in Markdown and HTML: `code`, **bold** and [words](target).
"""

from __future__ import annotations

from dataclasses import dataclass, field


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
    """A table; `numbers` names the columns, from 0, that are aligned to the right."""

    head: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A picture that lies beside the report."""

    file: str
    caption: str


@dataclass(frozen=True)
class Folded:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: list[Block] = field(default_factory=list)


Block = Heading | Paragraph | Bullets | Table | Figure | Folded


def code(text: str) -> str:
    """Mark text from outside as code, so that nothing in it is read as a mark."""
    return "`" + text.replace("`", "'").replace("\n", " ") + "`"


def to_markdown(blocks: list[Block]) -> str:
    """Write blocks as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {text}"
        case Paragraph(text, notice):
            return f"> {text}" if notice else text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Figure(file, caption):
            return f"![{caption}]({file})\n\n*{caption}*"
        case Folded(summary, inner):
            return f"<details><summary>{summary}</summary>\n\n{to_markdown(inner)}\n</details>"
        case Table():
            return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = ["---:" if column in table.numbers else "---" for column in range(len(table.head))]
    lines = [table.head, rule, *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
