"""The search's settings as a picture: over one parameter as lines, over two as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.plots.style import canvas, colour, marker, save, shade_cell, spread
from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.answers.answer import Drawing
from pipeline.report.samples import SamplePicture, of_search
from pipeline.report.statistics import summarise
from pipeline.report.trials import SearchResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES = """
Settings of the search on held-out images: means over seeds with 95% intervals, a faint dot a seed.
"""
HEAT = """
Settings of the search on held-out images: mean over seeds, half of its 95% interval, and seeds. All
maps have one scale.
"""
APART = 0.06
"""How far lines of neighbouring mixers are apart, in steps of the axis."""
FAINTEST = 0.08
DARKEST = 0.6
Setting = tuple[dict[str, Any], SamplePicture]


def settings_drawing(search: SearchResults | None) -> Drawing | None:
    """Return the picture of all finished settings; None where neither one nor two parameters vary
    beside the mixer.
    """
    settings = of_search(search) if search else []
    if search is None or not settings:
        return None

    axes = [key for key, values in search.space.space.items() if _varies(key, values)]
    shown = "; ".join(
        f"{sample.name} {numbers.value(sample.metric, fmean(sample.values.values()))}"
        for _, sample in settings
    )
    spoken = f"Values: {shown}."

    if len(axes) == 1:
        return Drawing(
            "search_settings.svg",
            " ".join(LINES.split()),
            lambda path: _lines(settings, axes[0], path),
            spoken,
        )
    if len(axes) == 2:
        return Drawing(
            "search_settings.svg",
            " ".join(HEAT.split()),
            lambda path: _maps(settings, axes[0], axes[1], path),
            spoken,
        )
    return None


def _varies(key: str, values: object) -> bool:
    return key != "mixer" and isinstance(values, list) and len(values) > 1


def _lines(settings: Sequence[Setting], key: str, path: Path) -> None:
    """Draw a line for each mixer over the values of one parameter."""
    mixers = _mixers(settings)
    places = _places(settings, key)
    figure, (axes,) = canvas(4.6)
    ends: list[tuple[str, float]] = []

    for number, mixer in enumerate(mixers):
        aside = (number - (len(mixers) - 1) / 2) * APART
        own = [(places[str(v[key])], sample) for v, sample in settings if _mixer(v) == mixer]
        own.sort(key=lambda item: item[0])
        means = [fmean(sample.values.values()) for _, sample in own]
        halves = [_half(sample) for _, sample in own]
        at = [place + aside for place, _ in own]

        look: dict[str, Any] = {"color": colour(mixer), "marker": marker(mixer), "capsize": 4}
        axes.errorbar(at, means, yerr=halves, linewidth=1.6, markersize=7, **look)
        for place, (_, sample) in zip(at, own, strict=True):
            dots = list(sample.values.values())
            beside = [place + APART / 3] * len(dots)
            axes.plot(beside, dots, ".", color=colour(mixer), alpha=0.4, markersize=5)
        ends.append((mixer, means[-1]))

    axes.set_xticks(range(len(places)), list(places))
    axes.set_xlabel(_spelled(key))
    axes.set_ylabel(f"{numbers.labelled(settings[0][1].metric)}, held out")
    axes.grid(axis="x", visible=False)
    axes.set_title(_title(settings))
    _name_ends(axes, ends)
    save(figure, path)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, float]]) -> None:
    """Name each line at its right end."""
    low, high = axes.get_ylim()
    heights = spread([value for _, value in ends], gap=(high - low) * 0.06)
    right = axes.get_xlim()[1]
    for (mixer, _), height in zip(ends, heights, strict=True):
        axes.text(right, height, f" {mixer}", color=colour(mixer), va="center", fontsize=10)
    axes.set_ylim(low, high)


def _maps(settings: Sequence[Setting], down: str, across: str, path: Path) -> None:
    """Draw a map for each mixer, all on one scale."""
    mixers = _mixers(settings)
    rows = _places(settings, down)
    columns = _places(settings, across)
    means = [fmean(sample.values.values()) for _, sample in settings]
    low = min(means)
    reach = (max(means) - low) or 1.0

    figure, panels = canvas(1.8 + 0.75 * len(rows), columns=len(mixers))
    for axes, mixer in zip(panels, mixers, strict=True):
        for (values, sample), mean in zip(settings, means, strict=True):
            if _mixer(values) == mixer:
                place = (columns[str(values[across])], rows[str(values[down])])
                opacity = FAINTEST + (DARKEST - FAINTEST) * (mean - low) / reach
                shade_cell(axes, *place, colour(mixer), opacity)
                axes.text(*place, _cell(sample), ha="center", va="center", fontsize=9.5)

        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), list(columns))
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_xlabel(_spelled(across))
        axes.grid(visible=False)
        axes.set_title(mixer)

    panels[0].set_ylabel(_spelled(down))
    save(figure, path)


def _cell(sample: SamplePicture) -> str:
    """Return mean, half of the interval, and seeds."""
    mean = numbers.value(sample.metric, fmean(sample.values.values()))
    half = _half(sample)
    count = len(sample.values)
    spread_of = f" ± {numbers.value(sample.metric, half)}" if half else ""
    return f"{mean}{spread_of}\nn = {count}"


def _half(sample: SamplePicture) -> float:
    """Return half of the 95% interval of a setting's mean, 0 for one seed."""
    summary = summarise(list(sample.values.values()))
    return summary.interval[1] - summary.mean if summary.interval else 0.0


def _mixers(settings: Sequence[Setting]) -> list[str]:
    return list(dict.fromkeys(_mixer(values) for values, _ in settings))


def _mixer(values: dict[str, Any]) -> str:
    return str(values.get("mixer", "all settings"))


def _places(settings: Sequence[Setting], key: str) -> dict[str, int]:
    """Return the place of each value of a parameter on an axis: numbers by size, then words."""
    found = {str(values[key]): values[key] for values, _ in settings}
    return {text: place for place, text in enumerate(sorted(found, key=lambda t: _order(found[t])))}


def _order(value: object) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return not number, float(value) if isinstance(value, int | float) else 0.0, str(value)


def _spelled(key: str) -> str:
    named = {"group_channels": "channels that share a weight"}
    return named.get(key, key.removeprefix("recipe.").replace("_", " "))


def _title(settings: Sequence[Setting]) -> str:
    sample = settings[0][1]
    return words.scale_of(bool(sample.small), sample.synthetic)
