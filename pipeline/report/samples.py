"""A setting with a number for each seed, wherever it was run: as a variant, in the factorial, or in
the search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.report.results import VariantResult
from pipeline.report.scale import small_because, smaller
from pipeline.report.trials import FactorialResults, SearchResults, TrialFile
from pipeline.runs.results.profile import ProfileFile
from pipeline.runs.results.training import Metrics

if TYPE_CHECKING:
    from pipeline.report.statistics import Right

SEARCH = "search"


@dataclass(frozen=True)
class SampleRun:
    """One training: how the project and how MLflow call it."""

    seed: int
    run_id: str
    mlflow_run_id: str | None


@dataclass(frozen=True)
class SamplePicture:
    """The main metric of each seed at the last evaluation, and what must be known to set it beside
    another.

    `where` is empty for a variant, `search`, or the budget of the factorial. `small` says why it is
    a small-scale run. `right` says of each seed which images were right, where that was kept.
    """

    where: str
    task: str
    name: str
    mixer: str
    metric: str
    values: Mapping[int, float]
    runs: tuple[SampleRun, ...]
    small: tuple[str, ...]
    synthetic: bool
    parameters: int | None
    macs: float | None
    train_images_per_second: float | None
    machine: tuple[object, ...]
    recipe: Mapping[str, Any]
    manifest: str
    profile: ProfileFile | None = None
    evaluated_on: str = "val"
    right: Mapping[int, Right] = field(default_factory=dict, compare=False)


def of_variant(result: VariantResult, metrics: Metrics) -> SamplePicture:
    """Return a trained variant."""
    rows = metrics.seeds
    return SamplePicture(
        where="",
        task=result.task,
        name=result.name,
        mixer=metrics.mixer,
        metric=metrics.main_metric,
        values={row.seed: row.last[metrics.main_metric] for row in rows},
        runs=tuple(SampleRun(row.seed, row.run_id, row.mlflow_run_id) for row in rows),
        small=small_because(metrics),
        synthetic=metrics.data.synthetic,
        parameters=metrics.parameters,
        macs=metrics.macs,
        train_images_per_second=fmean(row.train_images_per_second for row in rows),
        machine=(metrics.device, metrics.world_size),
        recipe=metrics.recipe,
        manifest=metrics.data.manifest,
        profile=result.profile,
        evaluated_on=metrics.data.evaluated_on,
        right=(
            {row.seed: row.right for row in result.predictions.seeds} if result.predictions else {}
        ),
    )


def of_budget(factorial: FactorialResults, budget: str) -> dict[str, SamplePicture]:
    """Return the settings of the factorial that finished in a budget, in the design's order."""
    design = factorial.design
    length = factorial.design.budgets[budget]
    rows = _finished(factorial.budget(budget))

    return {
        name: _sample(
            budget,
            design.task,
            name,
            setting.mixer,
            design.metric,
            rows[name],
            length.recipe,
            small=smaller(
                design.task,
                design.data,
                setting.size,
                length.epochs,
                design.image_size or 0,
                min(length.epochs if row.epoch is None else row.epoch for row in rows[name]),
            ),
            synthetic=design.data.synthetic,
            manifest=design.data.manifest,
        )
        for name, setting in design.settings.items()
        if name in rows
    }


def of_search(search: SearchResults) -> list[tuple[dict[str, Any], SamplePicture]]:
    """Return the settings of the search that finished, with their values."""
    space = search.space
    rows = _finished(search.trials)
    settings: list[tuple[dict[str, Any], SamplePicture]] = []

    for name, trials in rows.items():
        ended = min(space.epochs if trial.epoch is None else trial.epoch for trial in trials)
        # Without a size of its own: images held out of the training set make every search a
        # small-scale run.
        small = smaller(space.task, space.data, None, space.epochs, space.image_size or 0, ended)
        mixer = str(trials[0].values.get("mixer", ""))
        sample = _sample(
            SEARCH,
            space.task,
            name,
            mixer,
            space.metric,
            trials,
            space.recipe,
            small=small,
            synthetic=space.data.synthetic,
            manifest=space.data.manifest,
        )
        settings.append((trials[0].values, sample))

    return settings


def _finished(trials: Iterable[TrialFile]) -> dict[str, list[TrialFile]]:
    rows: dict[str, list[TrialFile]] = defaultdict(list)
    for trial in trials:
        if trial.state == "finished":
            rows[trial.setting].append(trial)
    return rows


def _sample(
    where: str,
    task: str,
    name: str,
    mixer: str,
    metric: str,
    trials: list[TrialFile],
    recipe: Mapping[str, Any],
    *,
    small: tuple[str, ...],
    synthetic: bool,
    manifest: str,
) -> SamplePicture:
    counts = {
        name: next((n for trial in trials if (n := getattr(trial, name)) is not None), None)
        for name in ("parameters", "macs")
    }
    speeds = [
        trial.train_images_per_second
        for trial in trials
        if trial.train_images_per_second is not None
    ]

    first = trials[0]
    return SamplePicture(
        where=where,
        task=task,
        name=name,
        mixer=mixer,
        metric=metric,
        values={trial.seed: trial.value for trial in trials if trial.value is not None},
        runs=tuple(SampleRun(trial.seed, trial.run_id, trial.mlflow_run_id) for trial in trials),
        small=small,
        synthetic=synthetic,
        parameters=counts["parameters"],
        macs=counts["macs"],
        train_images_per_second=fmean(speeds) if speeds else None,
        machine=(first.device, first.world_size),
        recipe=recipe,
        manifest=manifest,
    )
