"""Plots of what was measured: accuracy over seeds, learning curves, throughput."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.plots.style import canvas, colour, marker, save, spread
from pipeline.report import numbers
from pipeline.report.results import VariantResult
from pipeline.report.scale import small_because
from pipeline.report.statistics import summarise
from pipeline.runs.results.training import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.42
DASHES = ("-", "--", ":", "-.")
Curve = list[tuple[float, float, float, float]]


def accuracy(results: list[VariantResult], path: Path) -> None:
    """Return a dot per seed and a bar of one standard deviation around the mean, a line per
    variant.
    """
    runs = [(result.name, result.metrics) for result in results if result.metrics]
    figure, (axes,) = canvas(1.4 + ROW * len(runs))

    for line, (_, metrics) in enumerate(runs):
        _dots(axes, line, metrics)

    axes.set_yticks(range(len(runs)), _names(runs))
    axes.set_ylim(len(runs) - 0.4, -0.75)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{numbers.labelled(runs[0][1].main_metric)}, last evaluation")
    axes.set_title(scale_of([metrics for _, metrics in runs]))
    save(figure, path)


def curves(results: list[VariantResult], path: Path) -> None:
    """Training loss and main metric over epochs: the mean over seeds, and the range of the seeds
    behind it.
    """
    runs = [(result, result.metrics) for result in results if result.metrics and result.history]
    figure, (left, right) = canvas(4.4, columns=2)
    metric = runs[0][1].main_metric

    _curves(left, runs, "train_loss")
    # One set of names is enough: colour and dashes are the same in both panels.
    _label_ends(right, _curves(right, runs, metric))

    left.set_title("training loss")
    right.set_title(f"validation {numbers.labelled(metric)}")
    save(figure, path)


def throughput(results: list[VariantResult], path: Path) -> None:
    """Images a second in inference and in training steps, as profiled."""
    rows = [(result, result.profile) for result in results if result.profile]
    figure, panels = canvas(1.5 + ROW * len(rows), columns=2)

    inference = [profile.inference_images_per_second for _, profile in rows]
    training = [profile.train_images_per_second or 0.0 for _, profile in rows]
    several = len({profile.image_size for _, profile in rows}) > 1
    names = [
        result.name + (f"\n({profile.image_size} pixels)" if several else "")
        for result, profile in rows
    ]
    shades = [colour(result.variant.mixer) for result, _ in rows]

    for axes, title, values in zip(
        panels, ("inference", "training steps"), (inference, training), strict=True
    ):
        bars = axes.barh(range(len(rows)), values, color=shades, height=0.62)
        texts = [numbers.speed(value) if value else "not measured" for value in values]
        axes.bar_label(bars, labels=texts, padding=4, fontsize=10)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.margins(x=0.16)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"{title}, images/s")

    panels[1].tick_params(labelleft=False)
    save(figure, path)


def scale_of(runs: Sequence[Metrics]) -> str:
    """Return a plot's title: whose numbers these are, and of what scale."""
    small = [metrics for metrics in runs if small_because(metrics)]
    if len(small) < len(runs):
        return "measured here"
    return "measured here: small-scale run" + (
        " on synthetic data" if all(m.data.synthetic for m in runs) else ""
    )


def _names(runs: list[tuple[str, Metrics]]) -> list[str]:
    """Names of variants; where runs of both scales share the axis, each small one says so."""
    small = [bool(small_because(metrics)) for _, metrics in runs]
    mixed = any(small) and not all(small)
    return [
        f"{name}\n(small-scale run)" if mixed and is_small else name
        for (name, _), is_small in zip(runs, small, strict=True)
    ]


def _dots(axes: Axes, line: int, metrics: Metrics) -> None:
    values = [row.last[metrics.main_metric] for row in metrics.seeds]
    summary = summarise(values)
    shade = colour(metrics.mixer)

    if summary.sd is not None:
        axes.plot(
            values,
            [line] * len(values),
            "o",
            color=shade,
            alpha=0.35,
            markersize=6,
            markeredgewidth=0,
        )

    shape: dict[str, Any] = {
        "color": shade,
        "marker": marker(metrics.mixer),
        "markersize": 8,
        "capsize": 4,
        "linewidth": 1.6,
    }
    axes.errorbar(summary.mean, line, xerr=summary.sd, **shape)

    text = numbers.value(metrics.main_metric, summary.mean)
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 9.5}
    axes.annotate(text, (summary.mean, line), (0, 9), color=shade, **place)


def _curves(
    axes: Axes, runs: list[tuple[VariantResult, Metrics]], column: str
) -> list[tuple[str, str, float]]:
    """Draw a column of the histories; return name, colour and last value of each line."""
    ends: list[tuple[str, str, float]] = []
    drawn: dict[str, int] = defaultdict(int)
    names = _names([(result.name, metrics) for result, metrics in runs])

    for name, (result, metrics) in zip(names, runs, strict=True):
        points = _over_seeds(result, column)
        shade = colour(metrics.mixer)
        dashes = DASHES[drawn[metrics.mixer] % len(DASHES)]
        drawn[metrics.mixer] += 1
        if not points:
            continue

        epochs, means, least, most = zip(*points, strict=True)
        # a line of one point would not show
        single = marker(metrics.mixer) if len(points) == 1 else None
        axes.plot(epochs, means, dashes, color=shade, linewidth=1.8, marker=single)
        axes.fill_between(epochs, least, most, color=shade, alpha=0.14, linewidth=0)
        ends.append((name.replace("\n", " "), shade, means[-1]))

    axes.set_xlabel("epoch")
    return ends


def _over_seeds(result: VariantResult, column: str) -> Curve:
    """(epoch, mean, least, most) over the seeds, for the epochs that the history has the column
    for.
    """
    at: dict[float, list[float]] = defaultdict(list)
    for row in result.history:
        if column in row.values and "epoch" in row.values:
            at[row.values["epoch"]].append(row.values[column])
    return [
        (epoch, fmean(values), min(values), max(values)) for epoch, values in sorted(at.items())
    ]


def _label_ends(axes: Axes, ends: list[tuple[str, str, float]]) -> None:
    """Name each line to the right of the axes, at its height and apart from its neighbours."""
    low, high = axes.get_ylim()
    beside = axes.get_yaxis_transform()
    heights = spread([value for _, _, value in ends], gap=(high - low) * 0.065)

    for (name, shade, value), height in zip(ends, heights, strict=True):
        axes.plot(
            [1.0, 1.04],
            [value, height],
            color=shade,
            alpha=0.6,
            linewidth=0.9,
            transform=beside,
            clip_on=False,
        )
        axes.text(1.05, height, name, color=shade, fontsize=10, va="center", transform=beside)

    axes.set_ylim(low, high)
