"""The page of the report as a browser shows it: usable by everybody, and asking nobody."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import CHROMIUM, DARK, evaluate

from pipeline.plots.style import COLOURS, FURTHER
from pipeline.report.page import TEMPLATE
from pipeline.report.vector import inlined
from tests.pipeline.report.conftest import Project, fill_laptop

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

found = find_spec("axe_core_python")
AXE = Path(found.origin).parent / "axe.min.js" if found and found.origin else None
VIOLATIONS = """axe.run().then((result) => ({
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  width: innerWidth,
  rules: result.passes.map((rule) => rule.id),
  violations: result.violations.map((rule) => [rule.id, ...rule.nodes.map((node) => node.html)]),
}))"""
ASKED = """new Promise((answer) => onload = () => answer(
  performance.getEntriesByType("resource").map((entry) => entry.name)
    .filter((name) => !name.startsWith("data:"))))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every kind of block, all of it unfolded."""
    project = fill_laptop(Project(tmp_path_factory.mktemp("whole")))
    project.factorial()
    project.search()
    whole = project.report() / "report.html"
    unfolded = whole.with_name("unfolded.html")
    unfolded.write_text(whole.read_text().replace("<details>", "<details open>"))
    return unfolded


@in_a_browser
@pytest.mark.skipif(AXE is None, reason="needs axe-core-python")
@pytest.mark.parametrize(
    ("width", "options"),
    [
        pytest.param(1280, (), id="wide-light"),
        pytest.param(390, (DARK,), id="narrow-dark"),
        pytest.param(1280, (DARK,), id="wide-dark", marks=pytest.mark.faults),
        pytest.param(390, (), id="narrow-light", marks=pytest.mark.faults),
    ],
)
def test_axe_finds_no_violation(page: Path, width: int, options: tuple[str, ...]) -> None:
    assert AXE
    result = evaluate(page, AXE.read_text(), VIOLATIONS, width, *options)

    assert result["width"] == width
    assert result["dark"] == bool(options)
    assert {"color-contrast", "link-name", "svg-img-alt", "heading-order"} <= set(result["rules"])
    assert result["violations"] == []


@in_a_browser
@pytest.mark.skipif(AXE is None, reason="needs axe-core-python")
def test_axe_finds_what_is_wrong(tmp_path: Path) -> None:
    assert AXE
    wrong = tmp_path / "wrong.html"
    wrong.write_text('<html><body><img src="data:,"><p style="color: #ddd">pale</p></body></html>')
    result = evaluate(wrong, AXE.read_text(), VIOLATIONS, 1280)
    rules = {rule for rule, *_ in result["violations"]}
    assert rules >= {"color-contrast", "document-title", "html-has-lang", "image-alt"}


@in_a_browser
def test_no_request_leaves_the_page(page: Path, tmp_path: Path) -> None:
    asking = tmp_path / "asking.html"
    asking.write_text(page.read_text().replace("<main>", '<main><img src="http://127.0.0.1:9/a">'))

    assert evaluate(page, "", ASKED, 1280) == []
    assert evaluate(asking, "", ASKED, 1280) == ["http://127.0.0.1:9/a"]


@in_a_browser
def test_a_phone_scrolls_no_page_sideways(page: Path) -> None:
    widths = "Promise.resolve([document.documentElement.scrollWidth, innerWidth])"
    shown, wide = evaluate(
        page, "", f"new Promise((done) => onload = () => {widths}.then(done))", 390
    )
    assert shown <= wide


def channels(colour: str) -> list[float]:
    return [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]


def luminance(levels: list[float]) -> float:
    """Return WCAG's relative luminance of sRGB levels."""
    linear = [
        level / 12.92 if level <= 0.03928 else ((level + 0.055) / 1.055) ** 2.4 for level in levels
    ]
    return sum(
        weight * level for weight, level in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )


def contrast(one: list[float], other: list[float]) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [*COLOURS.values(), *FURTHER])
def test_words_in_the_colour_of_a_network_can_be_read_on_both_pages(colour: str) -> None:
    picture = f'<svg viewBox="0 0 1 1"><text style="fill: {colour.lower()}">a</text></svg>'
    (share,) = re.findall(r"color-mix\(in srgb, #\w+ (\d+)%", inlined(picture, "a", "b"))
    own = int(share) / 100
    schemes = re.findall(r"--text: (#\w{6});.*?--page: (#\w{6})", TEMPLATE.read_text())
    assert len(set(schemes)) == 2
    for scheme in schemes:
        text, paper = map(channels, scheme)
        mixed = [own * a + (1 - own) * b for a, b in zip(channels(colour), text, strict=True)]
        assert contrast(mixed, paper) >= 4.5
