"""The plots of a factorial design: nothing is cut off or covered, and what is drawn is what was
measured.
"""

from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.report import effect_figures
from pipeline.report.effect_figures import forest, interactions
from pipeline.report.effects import Analysis, Observation, analyse
from pipeline.report.factors import CELLS, FactorCell

Figure = Any
TITLE = "measured here: small-scale run on synthetic data"


def measured(
    cells: Iterable[FactorCell] = CELLS, seeds: int = 3, large: float = 0.0, sd: float = 0.5
) -> Analysis:
    draw = np.random.default_rng(3)
    return analyse(
        Observation(
            cell.words,
            seed,
            70 + large * (cell.channel_groups == "all") + sd * draw.standard_normal(),
            *cell,
        )
        for cell in cells
        for seed in range(seeds)
    )


CASES = {
    "full": lambda: measured(),
    "missing cells": lambda: measured(
        [cell for at, cell in enumerate(CELLS) if at not in (3, 4, 11)]
    ),
    "aliased": lambda: measured(cell for cell in CELLS if cell.dynamic != cell.shared_positions),
    "one level": lambda: measured(
        cell for cell in CELLS if cell.dynamic and cell.channel_groups != "group"
    ),
    "a very large effect": lambda: measured(large=-60.0),
    "two cells": lambda: measured([CELLS[0], CELLS[-1]]),
    "long reasons": lambda: measured(
        [cell for at, cell in enumerate(CELLS) if at not in (4, 11)], large=-60.0
    ),
    "one seed": lambda: measured(seeds=1),
    "one value": lambda: measured(sd=0.0),
    "nothing": lambda: measured([]),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Draw a plot and return its figure instead of writing it."""
    kept: list[Figure] = []
    monkeypatch.setattr(effect_figures, "save", lambda figure, path: kept.append(figure))

    def draw(plot: Callable[..., None], analysis: Analysis) -> Figure:
        plot(analysis, "top1", TITLE, Path("unused.png"))
        kept[-1].canvas.draw()
        return kept[-1]

    return draw


def texts(figure: Figure) -> dict[str, Any]:
    """Where each text stands, in pixels; equal texts are told apart by their place."""
    from matplotlib.text import Text

    (axes,) = figure.axes
    beyond = set()  # labels of ticks that lie beyond the axes are not drawn
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        beyond |= {
            tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high
        }
    shown = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text() and text not in beyond
    ]
    return {f"{text.get_text()} @{at}": text.get_window_extent() for at, text in enumerate(shown)}


@pytest.mark.parametrize("plot", [forest, interactions], ids=["forest", "interactions"])
@pytest.mark.parametrize("case", CASES)
def test_no_text_is_cut_off_or_covers_another(
    case: str, plot: Callable[..., None], drawn: Any
) -> None:
    figure = drawn(plot, CASES[case]())
    boxes, whole = texts(figure), figure.bbox
    assert any(TITLE in name for name in boxes)
    for name, box in boxes.items():
        assert box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1, name
        assert box.y0 >= whole.y0 - 1 and box.y1 <= whole.y1 + 1, name
    for (name, box), (other, its) in combinations(boxes.items(), 2):
        wide = min(box.x1, its.x1) - max(box.x0, its.x0)
        high = min(box.y1, its.y1) - max(box.y0, its.y0)
        assert wide <= 1 or high <= 1, (name, other)


@pytest.mark.parametrize("case", ["full", "missing cells", "one level"])
def test_forest_draws_every_effect_or_its_reason(case: str, drawn: Any) -> None:
    analysis = CASES[case]()
    (axes,) = drawn(forest, analysis).axes
    points = [line for line in axes.lines if line.get_marker() == "o"]
    stated = [effect for effect in analysis.effects if not effect.refused]
    assert [line.get_xdata()[0] for line in points] == [effect.estimate for effect in stated]
    intervals = [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"]
    assert set(intervals) == {(effect.low, effect.high) for effect in stated} | {(0, 0)}
    bands = [patch.get_width() / 2 for patch in axes.patches]
    assert bands == pytest.approx([effect.detectable for effect in stated])
    filled = [line.get_markerfacecolor() != "white" for line in points]
    assert filled == [(effect.p_adjusted or 0) < 0.05 for effect in stated]
    low, high = axes.get_xlim()
    assert all(low < -band and band < high for band in bands)
    shown = " ".join(text.get_text().replace("\n", " ") for text in axes.texts)
    for effect in analysis.effects:
        assert effect.refused in shown
    assert sum(text.get_text() == "–" for text in axes.texts) == len(analysis.effects) - len(stated)
    below = " ".join(axes.get_xlabel().split())
    assert all(effect.assumption in below for effect in stated)


def test_interactions_draw_every_seed_and_mean_and_break_where_a_cell_is_missing(
    drawn: Any,
) -> None:
    missing = FactorCell(True, "group", False)
    analysis = measured(cell for cell in CELLS if cell != missing)
    (axes,) = drawn(interactions, analysis).axes
    small = [y for line in axes.lines if line.get_markersize() == 4 for y in line.get_ydata()]
    assert sorted(small) == sorted(one.value for one in analysis.observations)
    lines = [list(line.get_ydata()) for line in axes.lines if line.get_markersize() == 8]
    assert len(lines) == 4
    assert [sum(np.isnan(line)) for line in lines] == [0, 1, 0, 0]
    want = np.mean([one.value for one in analysis.observations if one.cell == CELLS[0]])
    assert lines[0][0] == pytest.approx(want)
    names = {text.get_text() for text in axes.texts}
    assert names == {
        f"{one}, {two}"
        for one in ("dynamic", "static")
        for two in ("shared over positions", "per position")
    }


def test_lines_are_told_apart_without_colour(drawn: Any) -> None:
    (axes,) = drawn(interactions, measured()).axes
    lines = [line for line in axes.lines if line.get_markersize() == 8]
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 4


@pytest.mark.parametrize("plot", [forest, interactions])
def test_the_same_runs_make_the_same_bytes(plot: Callable[..., None], tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        plot(measured(), "top1", TITLE, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
