"""Whatever stands in files of results, the report's pages hold no markup and no link of it."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pipeline.report.document import Paragraph, plain, spans, to_markdown
from pipeline.report.page import inline

HOSTILE = (
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    '"><img src=x onerror=alert(1)>',
    "`</code><svg onload=alert(1)>",
    "[y](data:text/html;base64,PHNjcmlwdD4=)",
    "</title><script>alert(2)</script>",
    "[z](https://evil.example)",
    "![p](//evil.example/p.png)",
    "**bold` [a`b](https://evil.example)",
    "\\[q](vbscript:q)",
    "<javascript:alert(1)>",
    "\n\n[r]: javascript:r\n\n[r]",
    "&lt;b&gt; $\\frac{ $",
    "a | b\n\n# c\n\n    d",
    "\\",
    "x]`(y",
)
NAMES = {"task", "variant", "main_metric", "metric", "mode", "state", "channel_groups"} | {
    "evaluated_on",
    "size",
}
"""Texts that are names of what the project knows: another one is refused."""

TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "script",
    "nav",
    "main",
    "h1",
    "h2",
    "h3",
    "p",
    "ul",
    "li",
    "a",
    "code",
    "em",
    "strong",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "svg",
    "g",
    "defs",
    "path",
    "text",
    "use",
    "clippath",
    "rect",
    "caption",
    "th",
    "td",
    "figure",
    "figcaption",
    "img",
    "details",
    "summary",
    "blockquote",
}
ATTRIBUTES = {
    "lang",
    "charset",
    "name",
    "content",
    "http-equiv",
    "aria-label",
    "id",
    "class",
    "tabindex",
    "role",
    "loading",
    "viewbox",
    "d",
    "x",
    "y",
    "width",
    "height",
    "transform",
    "clip-path",
    "xlink:href",
    "scope",
    "href",
    "src",
    "alt",
    "style",
}
PLACES = (
    "#",
    "../",
    "http://127.0.0.1:5000/#/experiments/0/runs/",
    "data:image/png;base64,",
    "data:image/webp;base64,",
)
PICTURE = re.compile(r"[A-Za-z0-9_]+(?:%[0-9A-F]{2}|[A-Za-z0-9_.])*\.(?:png|svg|webp)")


class Page(HTMLParser):
    """Remembers every tag, attribute and address of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.places |= {
            value or "" for name, value in attrs if name in ("href", "src", "xlink:href")
        }


def poison(value: Any, names: frozenset[str], key: str = "") -> Any:
    """Put markup behind every text of a JSON value whose key is not among `names`."""
    if isinstance(value, dict):
        more = {"".join(HOSTILE): "".join(HOSTILE)} if key in ("overrides", "recipe") else {}
        return {name: poison(item, names, name) for name, item in value.items()} | more
    if isinstance(value, list):
        return [poison(item, names, key) for item in value]
    return value + "".join(HOSTILE) if isinstance(value, str) and key not in names else value


def spoil(results: Path) -> None:
    """Poison every file of results; names that must be those of other files stay."""
    for path in results.rglob("*.json"):
        names = NAMES | (
            {"mixer", "controls", "contrasts", "source"} if path.name == "design.json" else set()
        )
        names |= {"kernel_size", "group_channels", "placed_all_static", "shared_channel_dynamic"}
        names |= {"neighbourhood", "weights", "bridge"}
        path.write_text(json.dumps(poison(json.loads(path.read_text()), frozenset(names))))
    for path in results.rglob("trials.csv"):
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row |= {
                name: row[name] + "".join(HOSTILE)
                for name in ("run_id", "device", "error", "mlflow_run_id")
            }
            row |= {"mixer": row["mixer"] + "".join(HOSTILE)} if "mixer" in row else {}
        with open(path, "w", newline="") as file:
            out = csv.DictWriter(file, list(rows[0]))
            out.writeheader()
            out.writerows(rows)


def inert(page: Page) -> None:
    """Check that a page has only tags, attributes and addresses of the project's own."""
    assert page.tags <= TAGS, page.tags - TAGS
    assert page.attributes <= ATTRIBUTES, page.attributes - ATTRIBUTES
    strange = [place for place in page.places if not place.startswith(PLACES)]
    assert not [place for place in strange if not PICTURE.fullmatch(place)], strange


def test_texts_of_results_are_texts(laptop: Any) -> None:
    laptop.factorial(seeds=2)
    laptop.search()
    (laptop.root / "results/classify/[x](javascript:alert(1))<script>").mkdir()
    spoil(laptop.root / "results")
    folder = laptop.report()
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    inert(Page(page))
    inert(Page(MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)))
    assert page.count("alert(1)") > 50, "what was in the files is shown"
    for markup in ("<script", "](javascript:", "<img", "<svg"):
        assert markup not in text.replace("![", ""), markup


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_made_plain_is_shown_as_it_is(text: str) -> None:
    words = " ".join(text.split())
    assert "".join(span.text for span in spans(plain(text))) == words
    assert {span.mark for span in spans(plain(text))} == {"plain"}
    for whole in (
        inline(plain(text)),
        MarkdownIt("gfm-like", {"linkify": False}).render(to_markdown([Paragraph(plain(text))])),
    ):
        page = Page(whole)
        assert page.tags <= {"p"} and not page.places


@pytest.mark.parametrize(
    "target",
    [
        "javascript:x",
        "JavaScript:x",
        "data:text/html,x",
        "//evil",
        "\\\\evil",
        "vbscript:x",
        "&#106;avascript:x",
    ],
)
def test_a_link_leads_nowhere_but_to_pages(target: str) -> None:
    assert "href" not in inline(f"[words]({target})")
    assert 'href="https://a/b"' in inline("[words](https://a/b)") and 'href="../a:b"' in inline(
        "[words](../a:b)"
    )
