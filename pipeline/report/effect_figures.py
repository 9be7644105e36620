"""Plots of a factorial design: every effect with its interval, and every cell's mean over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, product
from math import nan
from pathlib import Path
from statistics import fmean
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

from pipeline.plots.style import QUIET, canvas, save, spread
from pipeline.report import numbers
from pipeline.report.effects import Analysis, Effect, Observation
from pipeline.report.factors import FACTORS, GROUPS
from pipeline.report.gate import LEVEL, POWER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.36
HEADINGS = {
    1: "main effects",
    2: "interactions of two: differences of differences",
    3: "interactions of three",
}
SHADE = "#0072B2"
BAND = "#e6e9ee"
# Colour and shape for dynamic, line and filling for shared over positions: each is seen without the
# other.
DYNAMIC = {True: ("#D55E00", "^"), False: ("#0072B2", "o")}
SHARED = {True: "-", False: "--"}
GAP = 0.075  # between lines, in distances of groups
ASIDE = 0.03  # from means to dots, likewise


def forest(analysis: Analysis, metric: str, title: str, path: Path) -> None:
    """Return a line for each effect: estimate, interval, a band of what is too small to be found; a
    reason where refused.

    Filled marks are effects that are told apart from none. Stars name what an effect assumes.
    """
    marks = _stars(analysis.effects)
    rows: list[Effect | str] = []
    for order, effects in groupby(analysis.effects, key=lambda effect: len(effect.factors)):
        rows += [HEADINGS[order], *effects]
    notes = [line for text, mark in marks.items() for line in wrap(f"{mark} {text}", 100)]
    figure, (axes,) = canvas(1.7 + ROW * len(rows) + 0.19 * len(notes))

    for line, row in enumerate(rows):
        if isinstance(row, Effect) and row.refused:
            _refusal(axes, line, row)
        elif isinstance(row, Effect):
            _interval(axes, line, row, metric)

    names = [
        row if isinstance(row, str) else row.name + marks.get(row.assumption, "") for row in rows
    ]
    for name, row in zip(axes.set_yticks(range(len(rows)), names), rows, strict=True):
        name.label1.set(fontweight="bold" if isinstance(row, str) else "normal", fontsize=10)

    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)

    if _across(axes, analysis.effects):
        lines = f"line: {analysis.confidence:.0%} interval; filled: adjusted p < {LEVEL:.0%}"
        key = f"{lines}; band: found in less than {POWER:.0%} of repetitions"
        axes.set_xlabel("\n".join([f"difference in {_points(metric)}", key, *notes]), fontsize=10)

    axes.set_title(title)
    save(figure, path)


def interactions(analysis: Analysis, metric: str, title: str, path: Path) -> None:
    """Return the mean of each cell over channel groups, a line for each way of the other two
    factors, a dot for each seed.
    """
    figure, (axes,) = canvas(4.8)
    words = FACTORS["channel groups"]
    ends: list[tuple[str, str, float, float]] = []

    for place, (shared, dynamic) in enumerate(product((True, False), repeat=2)):
        runs = [
            run
            for run in analysis.observations
            if (run.shared_positions, run.dynamic) == (shared, dynamic)
        ]
        if runs:
            name = f"{FACTORS['dynamic'][dynamic]}, {FACTORS['shared over positions'][shared]}"
            ends.append(
                (
                    name,
                    DYNAMIC[dynamic][0],
                    *_line(axes, runs, shared, dynamic, (place - 1.5) * GAP),
                )
            )

    axes.set_xticks(range(len(GROUPS)), [f"weights {words[group]}" for group in GROUPS])
    axes.set_xlim(-0.3, len(GROUPS) - 0.7)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.08)
    axes.set_ylabel(f"{numbers.labelled(metric)}, last evaluation")
    axes.set_xlabel("line: mean over seeds; small dots: seeds", fontsize=10)
    axes.set_title(title)

    _label(axes, ends)
    save(figure, path)


def _points(metric: str) -> str:
    return (
        f"{numbers.label(metric)}, points"
        if numbers.labelled(metric).endswith("%")
        else numbers.labelled(metric)
    )


def _stars(effects: Sequence[Effect]) -> dict[str, str]:
    """Return a mark for each assumption."""
    texts = dict.fromkeys(effect.assumption for effect in effects if effect.assumption)
    return {text: "*" * (place + 1) for place, text in enumerate(texts)}


def _across(axes: Axes, effects: Sequence[Effect]) -> bool:
    """Make the axis of differences wide enough for intervals and bands; return whether anything is
    stated.
    """
    reach = [
        number
        for effect in effects
        for number in (effect.low, effect.high, effect.detectable, -(effect.detectable or 0))
        if number is not None
    ]

    beyond = 0.06 * (max(reach) - min(reach)) or 1
    axes.set_xlim(min(reach) - beyond, max(reach) + beyond)

    stated = not all(effect.refused for effect in effects)
    if stated:
        axes.axvline(0, color="#3a424a", linewidth=1.0, zorder=1)
    else:
        axes.set_xticks([])
    return stated


def _refusal(axes: Axes, line: int, effect: Effect) -> None:
    look: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "color": QUIET,
        "linespacing": 1.0,
    }
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}

    axes.text(
        0.015, line, fill(effect.refused, 62), fontsize=8.5, fontstyle="italic", bbox=behind, **look
    )
    axes.text(1.02, line, numbers.NOTHING, fontsize=10, **look)


def _interval(axes: Axes, line: int, effect: Effect, metric: str) -> None:
    if (
        effect.estimate is None
        or effect.low is None
        or effect.high is None
        or effect.detectable is None
    ):
        return

    axes.barh(
        line, 2 * effect.detectable, left=-effect.detectable, height=0.72, color=BAND, zorder=0
    )
    clear = effect.clear
    axes.plot(
        [effect.low, effect.high],
        [line, line],
        color=SHADE,
        linewidth=2,
        zorder=2,
        solid_capstyle="butt",
    )
    face = SHADE if clear else "white"
    axes.plot(
        effect.estimate,
        line,
        "o",
        markersize=7.5,
        color=SHADE,
        markerfacecolor=face,
        markeredgewidth=1.8,
    )

    mean, low, high = (
        numbers.signed(metric, number) for number in (effect.estimate, effect.low, effect.high)
    )
    place: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "fontsize": 10,
    }
    axes.text(1.02, line, f"{mean}  ({low} to {high})", clip_on=False, **place)


def _line(
    axes: Axes, runs: list[Observation], shared: bool, dynamic: bool, aside: float
) -> tuple[float, float]:
    """Draw the cells of a line, broken where one has no runs; return where it ends."""
    shade, shape = DYNAMIC[dynamic]
    face = shade if shared else "white"
    means = []

    for at, group in enumerate(GROUPS):
        values = [run.value for run in runs if run.channel_groups == group]
        means.append(fmean(values) if values else nan)
        dots: dict[str, Any] = {"markersize": 4, "alpha": 0.55, "markeredgewidth": 0.8}
        axes.plot(
            [at + aside + ASIDE] * len(values),
            values,
            shape,
            color=shade,
            markerfacecolor=face,
            **dots,
        )

    places = [at + aside for at in range(len(GROUPS))]
    look: dict[str, Any] = {
        "marker": shape,
        "markersize": 8,
        "markeredgewidth": 1.8,
        "linewidth": 1.8,
        "zorder": 3,
    }
    axes.plot(places, means, SHARED[shared], color=shade, markerfacecolor=face, **look)

    return next(
        (place, mean)
        for place, mean in reversed(list(zip(places, means, strict=True)))
        if mean == mean
    )


def _label(axes: Axes, ends: list[tuple[str, str, float, float]]) -> None:
    """Name each line to the right of the axes, at its height and apart from its neighbours."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    heights = spread([value for *_, value in ends], gap=(high - low) * 0.065)
    lift = max(0.0, low - min(heights, default=low)) - max(0.0, max(heights, default=high) - high)
    heights = [height + lift for height in heights]

    for (name, shade, x, y), height in zip(ends, heights, strict=True):
        axes.plot(
            [x, right], [y, height], ":", color=shade, alpha=0.6, linewidth=0.9, clip_on=False
        )
        axes.text(right + 0.03, height, name, color=shade, fontsize=10, va="center")

    axes.set_ylim(low, high)
