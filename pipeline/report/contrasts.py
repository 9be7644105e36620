"""Pairs of settings that differ in one thing, and how far apart they are on the seeds they
share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from pipeline.report.results import VariantResult
from pipeline.report.samples import SamplePicture, of_budget, of_search, of_variant
from pipeline.report.statistics import Difference, OverImages, over_images, paired_difference
from pipeline.report.trials import FactorialResults, SearchResults
from pipeline.report.verdict import PAPER_KERNEL
from pipeline.runs.results.training import Metrics

BASELINE = "swin"
MATCHED = 0.05  # by which a control's parameters may differ
CEILING = 100.0  # %, of every main metric
Pair = tuple[VariantResult, Metrics]


@dataclass(frozen=True)
class Contrast:
    """`left` minus `right` in the task's main metric at the last evaluation; `confounded` names
    what else differs.
    """

    kind: str
    left: SamplePicture
    right: SamplePicture
    difference: Difference | None
    confounded: tuple[str, ...]
    over_images: OverImages | None = None

    @property
    def metric(self) -> str:
        """What is compared."""
        return self.left.metric

    @property
    def parameters_ratio(self) -> float | None:
        """Parameters of the left network in units of the right one's."""
        left = self.left.parameters
        right = self.right.parameters
        return left / right if left and right else None

    @property
    def small(self) -> bool:
        """Whether a side is a small-scale run."""
        return bool(self.left.small or self.right.small)

    @property
    def synthetic(self) -> bool:
        """Whether a side saw drawn images."""
        return self.left.synthetic or self.right.synthetic

    @property
    def at_ceiling(self) -> bool:
        """Whether every seed of both sides has everything right, so that nothing could be told
        apart.
        """
        return all(
            value >= CEILING for side in (self.left, self.right) for value in side.values.values()
        )

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, else 0."""
        if self.difference is None or self.difference.interval is None:
            return 0
        low, high = self.difference.interval
        return 1 if low > 0 else -1 if high < 0 else 0


def contrast(kind: str, left: SamplePicture, right: SamplePicture) -> Contrast:
    """Set two samples of one metric side by side; a control must have as many parameters as its
    cell.
    """
    difference = paired_difference(left.values, right.values)
    alike = (left.manifest, left.evaluated_on) == (right.manifest, right.evaluated_on)
    images = over_images(left.right, right.right, difference) if difference and alike else None
    compared = Contrast(kind, left, right, difference, _confounded(left, right), images)

    ratio = compared.parameters_ratio
    unmatched = kind == "control" and (ratio is None or abs(ratio - 1) > MATCHED)
    return (
        replace(compared, confounded=(*compared.confounded, "parameters"))
        if unmatched
        else compared
    )


def against_baseline(results: list[VariantResult]) -> list[Contrast]:
    """Each run of a task against Swin of its size, or against the first run of its size where Swin
    was not run.

    A timm network has no size; it is set against the first Swin, or the first run.
    """
    runs = _trained(results)
    contrasts: list[Contrast] = []
    for pair in runs:
        same = [candidate for candidate in runs if pair[1].size in (None, candidate[1].size)]
        baseline = next(
            (candidate for candidate in same if candidate[1].mixer == BASELINE), same[0]
        )
        if baseline is not pair:
            contrasts.append(_of_runs("baseline", pair, baseline))
    return contrasts


def kernel_pairs(results: list[VariantResult]) -> list[Contrast]:
    """Run that differ in kernel size alone, larger minus smaller."""
    contrasts: list[Contrast] = []
    for first, second in combinations(_trained(results), 2):
        small, large = sorted((first, second), key=lambda pair: kernel_of(pair[1]))
        if _without_kernel(small[1]) == _without_kernel(large[1]) and kernel_of(
            small[1]
        ) != kernel_of(large[1]):
            contrasts.append(_of_runs("kernel", large, small))
    return contrasts


def mixer_pairs(
    kind: str, results: list[VariantResult], left: Iterable[str], right: Iterable[str]
) -> list[Contrast]:
    """Run of the one mixers against runs of the others, same size and options."""
    lefts = tuple(left)
    rights = tuple(right)
    runs = _trained(results)
    return [
        _of_runs(kind, first, second)
        for first in runs
        for second in runs
        if first[1].mixer in lefts
        and second[1].mixer in rights
        and _options(first[1]) == _options(second[1])
    ]


def sharing_pairs(results: list[VariantResult]) -> list[Contrast]:
    """Run of one mixer that differ in groups of channels alone, groups minus the mixer's
    default.
    """
    runs = _trained(results)
    return [
        _of_runs("groups", first, second)
        for first in runs
        for second in runs
        if first[1].mixer == second[1].mixer
        and _grouped(first[1])
        and not _grouped(second[1])
        and _options(first[1], drop=("groups", "group_channels")) == _options(second[1])
    ]


def declared_pairs(factorial: FactorialResults | None, kind: str) -> list[Contrast]:
    """Pairs that the factorial's design names under this kind, a contrast for each budget, the
    longest first.
    """
    return _in_budgets(factorial, kind, lambda results: results.design.contrasts.get(kind, []))


def control_pairs(factorial: FactorialResults | None) -> list[Contrast]:
    """Cells of the factorial minus their controls, plain networks of as many parameters."""
    return _in_budgets(factorial, "control", lambda results: list(results.design.controls.items()))


def search_pairs(search: SearchResults | None, kind: str, key: str) -> list[Contrast]:
    """Return settings of the search that differ in `key` alone, the largest value minus the
    smallest.

    Numbers that were drawn from a range hardly ever differ alone.
    """
    values = search.space.space.get(key) if search is not None else None
    if search is None or not isinstance(values, list):
        return []

    order = {str(value): index for index, value in enumerate(sorted(values, key=_size))}
    alike: dict[tuple[str, ...], list[tuple[int, SamplePicture]]] = {}
    for setting, sample in of_search(search):
        rest = tuple(f"{name}={value}" for name, value in setting.items() if name != key)
        alike.setdefault(rest, []).append((order.get(str(setting[key]), 0), sample))

    contrasts: list[Contrast] = []
    for group in alike.values():
        (low, smallest), (high, largest) = (
            choose(group, key=lambda item: item[0]) for choose in (min, max)
        )
        if low != high:
            contrasts.append(contrast(kind, largest, smallest))
    return contrasts


def kernel_of(metrics: Metrics) -> int:
    """Return the kernel size of a run, the mixers' default where it is not said."""
    return int(metrics.overrides.get("kernel_size") or PAPER_KERNEL)


def _in_budgets(
    factorial: FactorialResults | None,
    kind: str,
    pairs: Callable[[FactorialResults], list[tuple[str, str]]],
) -> list[Contrast]:
    if factorial is None:
        return []
    budgets = [of_budget(factorial, budget) for budget in factorial.budgets]

    return [
        contrast(kind, samples[left], samples[right])
        for samples in budgets
        for left, right in pairs(factorial)
        if left in samples and right in samples
    ]


def _size(value: Any) -> tuple[bool, float]:
    """Sort values of a search, the default (null) first."""
    return value is not None, float(value) if isinstance(value, int | float) else 0.0


def _trained(results: list[VariantResult]) -> list[Pair]:
    return [(result, result.metrics) for result in results if result.metrics]


def _of_runs(kind: str, left: Pair, right: Pair) -> Contrast:
    return contrast(kind, of_variant(*left), of_variant(*right))


def _confounded(left: SamplePicture, right: SamplePicture) -> tuple[str, ...]:
    """Differences that stand in the way of reading a contrast as one of operators."""
    differences = [
        f"recipe: {key}"
        for key in sorted(left.recipe.keys() | right.recipe.keys())
        if left.recipe.get(key) != right.recipe.get(key)
    ]
    if left.manifest != right.manifest:
        differences.append("data")
    return tuple(differences)


def _options(metrics: Metrics, drop: tuple[str, ...] = ()) -> dict[str, Any]:
    """Size and overrides, with the default kernel written out."""
    kept = {
        key: value
        for key, value in metrics.overrides.items()
        if key not in drop and value is not None
    }
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
