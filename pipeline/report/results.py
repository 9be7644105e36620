"""Measured results: what train and profile published for the variants that params.yaml names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import UserError
from pipeline.core.records import Record
from pipeline.params import Task, Variant
from pipeline.project.call import Call, repro
from pipeline.report.claims import TASKS
from pipeline.report.document import code, plain
from pipeline.runs.results.files import AGAIN, line_of, read_json, read_table
from pipeline.runs.results.profile import ProfileFile
from pipeline.runs.results.training import (
    ClassLine,
    ConfusedLine,
    HistoryLine,
    Metrics,
    PredictionsFile,
)

Line = TypeVar("Line", bound=Record)
Again = Callable[..., str]
"""Return the command that makes stages anew."""


@dataclass(frozen=True)
class Evaluation:
    """One row of history.csv; a column that is empty there is missing here."""

    seed: int
    values: dict[str, float]


@dataclass(frozen=True)
class VariantResult:
    """All that is known of one variant in one task; `again` returns the command of stages."""

    task: str
    name: str
    variant: Variant
    folder: Path
    metrics: Metrics | None
    profile: ProfileFile | None
    history: tuple[Evaluation, ...]
    predictions: PredictionsFile | None = None
    by_class: tuple[ClassLine, ...] = ()
    confused: tuple[ConfusedLine, ...] = ()
    again: Again = field(default=repro, compare=False)

    @property
    def stage(self) -> str:
        """The name of its training in dvc.yaml."""
        return f"{self.task}@{self.name}"

    @property
    def samples(self) -> Path | None:
        """The picture of predictions, where there is one."""
        path = self.folder / "samples.png"
        return path if self.metrics and path.is_file() else None


@dataclass(frozen=True)
class Results:
    """Every variant of params.yaml, run or not, in its order; remarks about what was found; and
    the command that makes stages, named as in dvc.yaml.
    """

    variants: tuple[VariantResult, ...]
    notes: tuple[str, ...]
    again: Again = field(default=repro, compare=False)

    def of(self, task: str) -> list[VariantResult]:
        """Return the variants of one task."""
        return [result for result in self.variants if result.task == task]

    @property
    def run(self) -> list[VariantResult]:
        """The variants that have been trained."""
        return [result for result in self.variants if result.metrics]


def read_results(call: Call) -> Results:
    """Read what there is for the variants of the parameters.

    Raises:
        UserError: a results file is missing from its folder, garbled, or of another variant.
    """
    results: list[VariantResult] = []
    notes: list[str] = []
    for task in TASKS:
        section: Task = getattr(call.params, task)
        for name, variant in section.variants.items():
            result = _read(call, task, name, variant)
            results.append(result)
            notes.extend(_departures(result))
        notes.extend(_strangers(call, task, set(section.variants)))

    return Results(tuple(results), tuple(notes), call.again)


def _read(call: Call, task: str, name: str, variant: Variant) -> VariantResult:
    folder = call.source(lambda folders: folders.results(task, name))
    profile = call.source(lambda folders: folders.results("profile", name))
    metrics = read_json(folder / "metrics.json", Metrics) if folder.is_dir() else None

    if metrics:
        _check(folder / "metrics.json", metrics, task, name)

    return VariantResult(
        task=task,
        name=name,
        variant=variant,
        folder=folder,
        metrics=metrics,
        profile=read_json(profile / "profile.json", ProfileFile) if profile.is_dir() else None,
        history=_history(folder / "history.csv") if metrics else (),
        predictions=_predictions(folder / "predictions.json") if metrics else None,
        by_class=_lines(folder / "per_class.csv", ClassLine) if metrics else (),
        confused=_lines(folder / "confused.csv", ConfusedLine) if metrics else (),
        again=call.again,
    )


def _predictions(path: Path) -> PredictionsFile | None:
    """Read which images were right; a task need not say it, and older runs did not."""
    return read_json(path, PredictionsFile) if path.is_file() else None


def _check(path: Path, metrics: Metrics, task: str, name: str) -> None:
    """Refuse what would be shown under a wrong name."""
    if (metrics.task, metrics.variant) != (task, name):
        raise UserError(
            f"{path} is of {metrics.task} {metrics.variant}, not of {task} {name}; {AGAIN}"
        )


def _history(path: Path) -> tuple[Evaluation, ...]:
    """Read the evaluations; a run without the file just has no curve."""
    return tuple(
        Evaluation(line.seed, line.model_dump(exclude={"seed"}, exclude_none=True))
        for line in _lines(path, HistoryLine)
    )


def _lines(path: Path, model: type[Line]) -> tuple[Line, ...]:
    """Read a table whose lines are of one model; not every task and not every run has each."""
    if not path.is_file():
        return ()
    return tuple(line_of(path, at, model, row) for at, row in enumerate(read_table(path), start=2))


def _departures(result: VariantResult) -> list[str]:
    """Say it where results were made by another setting than the parameters now give."""
    metrics = result.metrics
    variant = result.variant
    if metrics is None:
        return []

    current = json.loads(json.dumps({"model": variant.model_name, **variant.overrides}))
    trained = {"model": metrics.model, **metrics.overrides}
    differing = [
        key
        for key in sorted(current.keys() | trained.keys())
        if current.get(key) != trained.get(key)
    ]
    again = f"`{result.again(result.stage)}` brings it up to date."

    return [
        f"{result.task} `{result.name}` was trained with {plain(key)} "
        f"{plain(trained.get(key, 'unset'))}, "
        f"the parameters now say {plain(current.get(key, 'unset'))}; {again}"
        for key in differing
    ]


def _strangers(call: Call, task: str, named: set[str]) -> list[str]:
    folder = call.folders.results(task)
    names = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )

    return [
        f"Results of {task} {code(name)} are left out: the parameters no longer name it."
        for name in names
        if name not in named and not name.startswith(".")
    ]
