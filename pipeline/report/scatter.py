"""Accuracy over what it costs. Small-scale runs never share an axis with published numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.params.registry import classifier, tasks
from pipeline.plots.style import canvas, colour, label_points, marker, save
from pipeline.report import numbers
from pipeline.report.claims import COSTS, Claim
from pipeline.report.figures import scale_of
from pipeline.report.results import VariantResult
from pipeline.report.scale import small_because
from pipeline.report.verdict import measured_value
from pipeline.runs.results.training import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPARED_TABLES = ("1", "README, ImageNet-1K", "Swin README, ImageNet-1K")


@dataclass(frozen=True)
class Point:
    """A network: its cost and its accuracy with an interval, where there is one."""

    name: str
    mixer: str
    cost: float
    accuracy: float
    interval: tuple[float, float] | None = None
    filled: bool = True


def over_cost(results: list[VariantResult], claims: list[Claim], cost: str, path: Path) -> None:
    """Draw top-1 over a cost, small-scale runs in a panel of their own.

    Runs of the paper's scale stand among the published numbers, with a star behind their names.

    Args:
        results: trained classifiers.
        claims: published numbers.
        cost: one of `pipeline.report.claims.COSTS`.
        path: where the picture is written.
    """
    runs = [(result, result.metrics) for result in results if result.metrics]
    small = [metrics for _, metrics in runs if small_because(metrics)]
    small_points = list(_measured(runs, cost, small=True))
    large = list(_measured(runs, cost, small=False))

    figure, panels = canvas(4.6, columns=2 if small_points else 1)
    stars = ", and measured here (*)" if large else ""
    panels[-1].set_title(f"published (hollow: recalled){stars}")
    drawn = [(panels[-1], [*published_points(claims, cost), *large])]
    if small_points:
        panels[0].set_title(scale_of(small))
        drawn.append((panels[0], small_points))

    for axes, points in drawn:
        _scatter(axes, points)
        axes.set_xlabel(numbers.labelled(cost))

    panels[0].set_ylabel("top-1, %, last evaluation")
    figure.draw_without_rendering()  # settles the axes, so that labels know where their points lie
    for axes, points in drawn:
        label_points(axes, [(point.name, point.cost, point.accuracy) for point in points])

    save(figure, path)


def spoken(results: list[VariantResult], claims: list[Claim], cost: str) -> list[str]:
    """Return every point in words, for who cannot see it: name, cost, accuracy."""
    runs = [(result, result.metrics) for result in results if result.metrics]
    points = [
        *_measured(runs, cost, small=True),
        *published_points(claims, cost),
        *_measured(runs, cost, small=False),
    ]

    main = tasks()[classifier()].main_metric
    return [
        f"{point.name} {numbers.value(cost, point.cost)} {numbers.value(main, point.accuracy)}"
        for point in points
    ]


def published_points(claims: list[Claim], cost: str) -> list[Point]:
    """Return the paper's own networks and Swin, where both numbers are in one row of a table."""
    rows: dict[str, dict[str, Claim]] = defaultdict(dict)
    for claim in claims:
        if (
            claim.row.task == classifier()
            and claim.row.mixer
            and claim.row.table in COMPARED_TABLES
        ):
            rows[claim.row.id][claim.metric] = claim

    main = tasks()[classifier()].main_metric
    return [
        Point(
            top1.row.model,
            top1.row.mixer or "",
            values[cost].value,
            top1.value,
            filled=top1.published,
        )
        for values in rows.values()
        if cost in values and (top1 := values.get(main))
    ]


def _measured(
    runs: Iterable[tuple[VariantResult, Metrics]], cost: str, *, small: bool
) -> Iterable[Point]:
    """Yield the runs of one scale that have the cost."""
    for result, metrics in runs:
        value = _cost(result, metrics)[cost]
        accuracy = measured_value(result, metrics.main_metric)
        if value and accuracy and bool(small_because(metrics)) == small:
            name = result.name if small else f"{result.name} *"
            yield Point(name, metrics.mixer, value, accuracy.mean, accuracy.interval)


def _cost(result: VariantResult, metrics: Metrics) -> dict[str, float | None]:
    profile = result.profile
    speed = profile.inference_images_per_second if profile else None
    macs = metrics.macs / 1e9 if metrics.macs else None
    return dict(zip(COSTS, (metrics.parameters / 1e6, macs, speed), strict=True))


def _scatter(axes: Axes, points: list[Point]) -> None:
    for point in points:
        shade = colour(point.mixer)
        face = shade if point.filled else "white"
        shape: dict[str, Any] = {
            "marker": marker(point.mixer),
            "s": 70,
            "linewidths": 1.6,
            "zorder": 3,
        }

        if point.interval:
            axes.plot([point.cost] * 2, point.interval, color=shade, linewidth=1.4, alpha=0.7)
        axes.scatter(point.cost, point.accuracy, color=face, edgecolors=shade, **shape)

    axes.margins(x=0.2, y=0.12)
