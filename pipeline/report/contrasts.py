"""Pairs of runs that differ in one thing, and how far apart they are on the seeds they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pipeline.report.results import Metrics, Result
from pipeline.report.statistics import Difference, paired_difference
from pipeline.report.verdict import PAPER_KERNEL

BASELINE = "swin"


@dataclass(frozen=True)
class Contrast:
    """`left` minus `right` in the task's main metric at the last evaluation; `confounded` names what else differs."""

    left: Result
    right: Result
    metric: str
    difference: Difference | None
    confounded: tuple[str, ...]


def against_baseline(results: list[Result]) -> list[Contrast]:
    """Each run of a task against Swin of its size, or against the first run of its size where Swin was not run.

    A timm network has no size; it is set against the first Swin, or the first run.
    """
    runs = _trained(results)
    made: list[Contrast] = []
    for pair in runs:
        same = [other for other in runs if pair[1].size in (None, other[1].size)]
        baseline = next((other for other in same if other[1].mixer == BASELINE), same[0])
        if baseline is not pair:
            made.append(_contrast(pair, baseline))
    return made


def kernel_pairs(results: list[Result]) -> list[Contrast]:
    """Runs that differ in kernel size alone, larger minus smaller."""
    made: list[Contrast] = []
    for first, second in combinations(_trained(results), 2):
        small, large = sorted((first, second), key=lambda pair: kernel_of(pair[1]))
        if _without_kernel(small[1]) == _without_kernel(large[1]) and kernel_of(small[1]) != kernel_of(large[1]):
            made.append(_contrast(large, small))
    return made


def mixer_pairs(results: list[Result], left: Iterable[str], right: Iterable[str]) -> list[Contrast]:
    """Runs of the one mixers against runs of the others, same size and options."""
    lefts, rights = tuple(left), tuple(right)
    runs = _trained(results)
    return [
        _contrast(one, other)
        for one in runs
        for other in runs
        if one[1].mixer in lefts and other[1].mixer in rights and _options(one[1]) == _options(other[1])
    ]


def sharing_pairs(results: list[Result]) -> list[Contrast]:
    """Runs of one mixer that differ in groups of channels alone, groups minus the mixer's default."""
    runs = _trained(results)
    return [
        _contrast(one, other)
        for one in runs
        for other in runs
        if one[1].mixer == other[1].mixer
        and _grouped(one[1])
        and not _grouped(other[1])
        and _options(one[1], drop=("groups", "group_channels")) == _options(other[1])
    ]


def kernel_of(metrics: Metrics) -> int:
    """The kernel size of a run, the mixers' default where it is not said."""
    return int(metrics.overrides.get("kernel_size") or PAPER_KERNEL)


def _trained(results: list[Result]) -> list[tuple[Result, Metrics]]:
    return [(result, result.metrics) for result in results if result.metrics]


def _contrast(left: tuple[Result, Metrics], right: tuple[Result, Metrics]) -> Contrast:
    metric = left[1].main_metric
    one, other = (
        {row.seed: row.final[metric] for row in metrics.seeds if metric in row.final} for _, metrics in (left, right)
    )
    return Contrast(left[0], right[0], metric, paired_difference(one, other), _confounded(left[1], right[1]))


def _confounded(left: Metrics, right: Metrics) -> tuple[str, ...]:
    """Differences that stand in the way of reading a contrast as one of operators."""
    found = [
        f"recipe: {key}"
        for key in sorted(left.recipe.keys() | right.recipe.keys())
        if left.recipe.get(key) != right.recipe.get(key)
    ]
    if left.data.manifest != right.data.manifest:
        found.append("data")
    return tuple(found)


def _options(metrics: Metrics, drop: tuple[str, ...] = ()) -> dict[str, Any]:
    """Size and overrides, with the default kernel written out."""
    kept = {key: value for key, value in metrics.overrides.items() if key not in drop and value is not None}
    return {**kept, "kernel_size": kernel_of(metrics), "size": metrics.size}


def _without_kernel(metrics: Metrics) -> dict[str, Any]:
    return {
        **_options(metrics, drop=("kernel_size",)),
        "kernel_size": None,
        "mixer": metrics.mixer,
        "model": metrics.model,
    }


def _grouped(metrics: Metrics) -> bool:
    return any(metrics.overrides.get(key) is not None for key in ("groups", "group_channels"))
