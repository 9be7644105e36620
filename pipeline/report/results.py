"""Measured results: what train and profile published for the variants that params.yaml names."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from pipeline.core.errors import UserError
from pipeline.params import Task, Variant
from pipeline.project.call import Call
from pipeline.report.claims import TASKS
from pipeline.report.document import code, plain

Made = TypeVar("Made", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class File(BaseModel):
    """A results file may hold more than the report reads."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class DataFacts(File):
    """What a run was trained and evaluated on."""

    dataset: str
    source: str
    manifest: str
    train_samples: int
    val_samples: int
    classes: int
    evaluated_on: str = "val"

    @property
    def synthetic(self) -> bool:
        """Whether the images were generated."""
        return self.source == "synthetic"


class SeedRow(File):
    """One seed of a run; `final` is the last evaluation, `best` the best one by the main metric."""

    seed: int
    run_id: str
    mlflow_run_id: str | None = None
    final: dict[str, FiniteFloat]
    best: dict[str, FiniteFloat]
    train_images_per_second: FiniteFloat
    wall_time_s: FiniteFloat


class Metrics(File):
    """`results/<task>/<variant>/metrics.json`."""

    task: str
    variant: str
    mixer: str
    size: str | None
    model: str
    overrides: dict[str, Any]
    main_metric: Name
    data: DataFacts
    parameters: int
    recipe: dict[str, Any]
    world_size: int
    device: str
    commit: str | None
    dirty: bool
    seeds: list[SeedRow] = Field(min_length=1)

    @property
    def epochs(self) -> float:
        """Length of the recipe in epochs, also where it is written in steps."""
        duration = self.recipe.get("duration", {})
        if duration.get("epochs") is not None:
            return float(duration["epochs"])
        batch = float(self.recipe.get("micro_batch", 0)) * float(
            self.recipe.get("micro_batches", 0)
        )
        return float(duration.get("steps") or 0) * batch / self.data.train_samples

    @property
    def image_size(self) -> int:
        """Pixels of a training image's side, 0 where the recipe does not say."""
        return int(self.recipe.get("image_size") or 0)


class ProfileFile(File):
    """`results/profile/<variant>/profile.json`; `flops` are multiply-adds."""

    variant: str
    model: str
    parameters: int
    flops: FiniteFloat
    flops_rule: str
    classes: int = 1000
    image_size: int
    batch_size: int
    device: str
    precision: str
    layout: str
    inference_images_per_second: FiniteFloat
    train_images_per_second: FiniteFloat | None = None
    peak_memory_mb: FiniteFloat | None = None
    warmup: int
    timed: int


@dataclass(frozen=True)
class Evaluation:
    """One row of history.csv; a column that is empty there is missing here."""

    seed: int
    values: dict[str, float]


@dataclass(frozen=True)
class VariantResult:
    """All that is known of one variant in one task."""

    task: str
    name: str
    variant: Variant
    folder: Path
    metrics: Metrics | None
    profile: ProfileFile | None
    history: tuple[Evaluation, ...]

    @property
    def samples(self) -> Path | None:
        """The picture of predictions, where there is one."""
        path = self.folder / "samples.png"
        return path if self.metrics and path.is_file() else None


@dataclass(frozen=True)
class Results:
    """Every variant of params.yaml, run or not, in its order; and remarks about what was found."""

    variants: tuple[VariantResult, ...]
    notes: tuple[str, ...]

    def of(self, task: str) -> list[VariantResult]:
        """The variants of one task."""
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
    found: list[VariantResult] = []
    notes: list[str] = []
    for task in TASKS:
        section: Task = getattr(call.params, task)
        for name, variant in section.variants.items():
            result = _read(call, task, name, variant)
            found.append(result)
            notes.extend(_departures(result))
        notes.extend(_strangers(call, task, set(section.variants)))
    return Results(tuple(found), tuple(notes))


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
    )


def read_json(path: Path, model: type[Made]) -> Made:
    """Read a results file.

    Raises:
        UserError: it cannot be read, is not JSON, or does not fit the model.
    """
    again = "run its stage again"
    try:
        return model.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {again}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} does not fit at '{where}': {first['msg']}; {again}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); {again}") from None


def _check(path: Path, metrics: Metrics, task: str, name: str) -> None:
    """Refuse what would be shown under a wrong name or fail later without a path."""
    if (metrics.task, metrics.variant) != (task, name):
        raise UserError(
            f"{path} is of {metrics.task} {metrics.variant}, not of {task} {name}; run its "
            "stage again"
        )
    seeds = [row.seed for row in metrics.seeds]
    if len(set(seeds)) != len(seeds):
        raise UserError(f"{path} holds a seed twice; run its stage again")
    if any(
        metrics.main_metric not in part for row in metrics.seeds for part in (row.final, row.best)
    ):
        raise UserError(
            f"{path} lacks its main metric {metrics.main_metric} in a seed; run its stage again"
        )
    if metrics.data.train_samples <= 0:
        raise UserError(
            f"{path} says it was trained on {metrics.data.train_samples} samples; run its "
            "stage again"
        )


def _history(path: Path) -> tuple[Evaluation, ...]:
    """Read the evaluations; a run without the file just has no curve."""
    if not path.is_file():
        return ()
    try:
        with open(path, newline="") as file:
            rows = [
                {key: value for key, value in row.items() if value} for row in csv.DictReader(file)
            ]
        return tuple(
            Evaluation(
                int(row["seed"]), {key: float(value) for key, value in row.items() if key != "seed"}
            )
            for row in rows
        )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} is not a table of evaluations ({error}); run its stage again"
        ) from None


def _departures(result: VariantResult) -> list[str]:
    """Say it where results were made by another setting than the parameters now give."""
    metrics, variant = result.metrics, result.variant
    if metrics is None:
        return []
    wanted = json.loads(json.dumps({"model": variant.model_name, **variant.overrides}))
    made = {"model": metrics.model, **metrics.overrides}
    differing = [
        key for key in sorted(wanted.keys() | made.keys()) if wanted.get(key) != made.get(key)
    ]
    again = f"`dvc repro {result.task}@{result.name}` brings it up to date."
    return [
        f"{result.task} `{result.name}` was trained with {plain(key)} "
        f"{plain(made.get(key, 'unset'))}, "
        f"the parameters now say {plain(wanted.get(key, 'unset'))}; {again}"
        for key in differing
    ]


def _strangers(call: Call, task: str, known: set[str]) -> list[str]:
    folder = call.folders.results(task)
    names = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
    return [
        f"Results of {task} {code(name)} are left out: the parameters no longer name it."
        for name in names
        if name not in known and not name.startswith(".")
    ]
