"""Differences with their intervals, a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.plots.style import QUIET, canvas, colour, marker, save
from pipeline.report import numbers
from pipeline.report.claims import TASK_NAMES
from pipeline.report.contrasts import Contrast

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 0.5


def forest(
    contrasts: Sequence[Contrast], path: Path, margin: Mapping[str, float] | None = None
) -> None:
    """Points of each contrast and its 95% interval; a hollow mark is of one seed and has none.

    The margin of a metric, where it is given, is a band around zero.
    """
    figure, (axes,) = canvas(1.5 + LINE * len(contrasts))
    draw_forest(axes, contrasts, margin or {})
    axes.set_title(title_of(contrasts))
    save(figure, path)


def draw_forest(axes: Axes, contrasts: Sequence[Contrast], margin: Mapping[str, float]) -> None:
    """Draw the lines into axes, the first on top."""
    axes.axvline(0, color=QUIET, linewidth=1)

    for line, contrast in enumerate(contrasts):
        if band := margin.get(contrast.metric, 0.0):
            axes.fill_betweenx(
                [line - 0.4, line + 0.4], -band, band, color=QUIET, alpha=0.16, linewidth=0
            )
        _line(axes, line, contrast)

    axes.set_yticks(
        range(len(contrasts)), [label(contrast) for contrast in contrasts], fontsize=9.5
    )
    axes.set_ylim(len(contrasts) - 0.4, -0.75)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)

    metrics = dict.fromkeys(numbers.label(contrast.metric) for contrast in contrasts)
    axes.set_xlabel(f"difference in points of {', '.join(metrics)}")


def label(contrast: Contrast) -> str:
    """Return the two sides and where they were run, in two lines."""
    where = {"": "", "search": "search, "}.get(
        contrast.left.where, f"factorial {contrast.left.where}, "
    )
    sides = f"{contrast.left.name} − {contrast.right.name}"
    if len(sides) > 44:
        sides = f"{contrast.left.name}\n− {contrast.right.name}"
    return f"{sides}\n({where}{TASK_NAMES[contrast.left.task]})"


def title_of(contrasts: Sequence[Contrast]) -> str:
    """Whose numbers these are, and of what scale."""
    small = [contrast for contrast in contrasts if contrast.small]
    if not small:
        return "measured here"
    of_scale = "small-scale run" if len(small) == len(contrasts) else "partly from small-scale runs"
    return f"measured here: {of_scale}" + (
        " on synthetic data" if all(c.synthetic for c in contrasts) else ""
    )


def _line(axes: Axes, line: int, contrast: Contrast) -> None:
    difference = contrast.difference
    shade = colour(contrast.left.mixer)
    if difference is None:
        axes.annotate(
            "no seed in common",
            (0, line),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
        return

    low, high = difference.interval or (difference.mean, difference.mean)
    shape: dict[str, Any] = {
        "color": shade,
        "marker": marker(contrast.left.mixer),
        "markersize": 7,
        "capsize": 4,
    }
    face = shade if difference.interval else "white"
    reach = [[difference.mean - low], [high - difference.mean]] if difference.interval else None
    axes.errorbar(difference.mean, line, xerr=reach, markerfacecolor=face, linewidth=1.6, **shape)

    text = numbers.signed(contrast.metric, difference.mean)
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9.5}
    axes.annotate(text, (difference.mean, line), (0, 8), color=shade, **place)
