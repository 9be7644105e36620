"""What would have to be run for an answer, as commands and as entries of params.yaml."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.params.registry import classifier
from pipeline.report.answers.answer import Evidence
from pipeline.report.contrasts import Contrast
from pipeline.report.results import Results, VariantResult


def of_mixer(
    results: Results, answered: bool, mixers: Iterable[str], tasks: Iterable[str] = (classifier(),)
) -> list[str]:
    """Variants of these mixers that are named and not run; where none is named, what to add."""
    lacking: list[str] = []
    for task in tasks:
        named = results.of(task)
        for mixer in mixers:
            variants = [result for result in named if result.variant.mixer == mixer]
            lacking += [_train(result) for result in variants if not result.metrics]
            if not variants and not answered:
                size = _size(named)
                entry = f"{mixer}_{size}: {{mixer: {mixer}, size: {size}}}"
                command = results.again(f"{task}@{mixer}_{size}")
                lacking.append(f"Add `{entry}` to `{task}.variants`, then `{command}`.")

    return lacking


def of_kind(
    results: Results, answered: bool, mixers: Iterable[str], what: str, option: str, suffix: str
) -> list[str]:
    """Variants for a pair that differs in one option of a mixer alone."""
    if answered:
        return []
    named = [result for result in results.of(classifier()) if result.variant.mixer in mixers]
    lacking = [_train(result) for result in named if not result.metrics]
    if lacking:
        return lacking

    mixer = next(iter(mixers))
    size = _size(results.of(classifier()))
    name = f"{mixer}_{size}_{suffix}"
    entry = f"{name}: {{mixer: {mixer}, size: {size}, {option}}}"
    command = results.again(f"{classifier()}@{name}")
    return [f"For {what}: add `{entry}` to `{classifier()}.variants`, then `{command}`."]


def seeds(results: Results, contrasts: list[Contrast]) -> list[str]:
    """Variants that a contrast has too few common seeds of."""
    few = [
        pair
        for pair in contrasts
        if not pair.left.where and (pair.difference is None or pair.difference.n < 2)
    ]
    names = {
        (side.task, side.name): len(side.values) for pair in few for side in (pair.left, pair.right)
    }
    single = [(task, name) for (task, name), count in names.items() if count < 2]
    if not single:
        return []

    command = results.again(*(f"{task}@{name}" for task, name in single))
    return [
        f"For intervals, give `seeds: [0, 1, 2]` to the variants with one seed, then `{command}`."
    ]


def profiles(results: Results, variants: Iterable[VariantResult]) -> list[str]:
    """Variants without a profile."""
    stages = [f"profile@{result.name}" for result in variants if result.profile is None]
    return [f"`{results.again(*stages)}` measures the cost."] if stages else []


def factorial(evidence: Evidence) -> list[str]:
    """Return the factorial design, where it is not there or has runs that failed."""
    command = evidence.results.again("factorial")
    if evidence.factorial is None:
        return [f"`{command}` makes the factorial design."]
    failed = any(trial.state == "failed" for trial in evidence.factorial.trials)
    return [f"`{command}` tries its failed runs again."] if failed else []


def search(evidence: Evidence) -> list[str]:
    """Return the search, where it is not there."""
    return [] if evidence.search else [f"`{evidence.results.again('tune')}` makes the search."]


def _train(result: VariantResult) -> str:
    return f"`{result.again(result.stage)}`"


def _size(named: list[VariantResult]) -> str:
    return next((result.variant.size for result in named if result.variant.size), "micro")
