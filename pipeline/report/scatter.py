"""Accuracy over parameters. Small-scale runs never share an axis with published numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.params.registry import classifier, tasks
from pipeline.plots.style import canvas, colour, label_points, marker, save
from pipeline.report.claims import Claim
from pipeline.report.figures import scale_of
from pipeline.report.results import VariantResult
from pipeline.report.scale import small_because
from pipeline.runs.results import Metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPARED_TABLES = ("1", "README, ImageNet-1K", "Swin README, ImageNet-1K")


@dataclass(frozen=True)
class Point:
    """A network: its parameters in M and its top-1."""

    name: str
    mixer: str
    parameters: float
    top1: float
    filled: bool = True


def size_against_accuracy(results: list[VariantResult], claims: list[Claim], path: Path) -> None:
    """Top-1 over parameters: small-scale runs in a panel of their own, published numbers in the
    other.

    Runs of the paper's scale stand among the published numbers, with a star behind their names.
    """
    runs = [(result.name, result.metrics) for result in results if result.metrics]
    small = [_measured(name, metrics) for name, metrics in runs if small_because(metrics)]
    large = [
        _measured(f"{name} *", metrics) for name, metrics in runs if not small_because(metrics)
    ]
    figure, panels = canvas(5.2, columns=2 if small else 1)
    panels[-1].set_title(
        "published (hollow: recalled)" + (", and measured here (*)" if large else "")
    )
    shown = [(panels[-1], [*published_points(claims), *large])]
    if small:
        panels[0].set_title(scale_of([metrics for _, metrics in runs if small_because(metrics)]))
        shown.append((panels[0], small))
    for axes, points in shown:
        _scatter(axes, points)
    panels[0].set_ylabel("top-1, %, last evaluation")
    figure.draw_without_rendering()  # settles the axes, so that labels know where their points lie
    for axes, points in shown:
        label_points(axes, [(point.name, point.parameters, point.top1) for point in points])
    save(figure, path)


def published_points(claims: list[Claim]) -> list[Point]:
    """Return the paper's own networks and Swin, where both numbers are in one row of a table."""
    rows: dict[str, dict[str, Claim]] = defaultdict(dict)
    for claim in claims:
        if (
            claim.row.task == classifier()
            and claim.row.mixer
            and claim.row.table in COMPARED_TABLES
        ):
            rows[claim.row.id][claim.metric] = claim
    return [
        Point(
            top1.row.model,
            top1.row.mixer or "",
            values["parameters_m"].value,
            top1.value,
            top1.published,
        )
        for values in rows.values()
        if "parameters_m" in values and (top1 := values.get(tasks()[classifier()].main_metric))
    ]


def _measured(name: str, metrics: Metrics) -> Point:
    top1 = fmean(row.last[metrics.main_metric] for row in metrics.seeds)
    return Point(name, metrics.mixer, metrics.parameters / 1e6, top1)


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
        axes.scatter(point.parameters, point.top1, color=face, edgecolors=shade, **shape)
    axes.set_xlabel("parameters, M")
    axes.margins(x=0.2, y=0.12)
