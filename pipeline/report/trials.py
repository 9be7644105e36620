"""What the search and the factorial published: their designs, and a row for each setting and
seed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat, ValidationError

from pipeline.core.errors import UserError, discreet
from pipeline.project.call import Call
from pipeline.report.claims import TaskName
from pipeline.report.results import DataFacts, File, Name, read_json

AGAIN = "run its stage again"


class TrialFile(File):
    """One setting and seed.

    What the stage left empty is None; `value` and `best` are of the main metric.
    """

    tier: Name = "search"
    setting: str
    seed: int
    run_id: str = ""
    state: Literal["finished", "stopped", "failed"]
    epoch: FiniteFloat | None = None
    value: FiniteFloat | None = None
    best: FiniteFloat | None = None
    parameters: int | None = None
    flops: FiniteFloat | None = None
    train_images_per_second: FiniteFloat | None = None
    wall_time_s: FiniteFloat | None = None
    world_size: int | None = None
    device: str = ""
    mlflow_run_id: str | None = None
    error: str = ""
    values: dict[str, Any] = Field(default_factory=dict)

    @property
    def hours(self) -> float | None:
        """Hours of all its workers together."""
        if self.wall_time_s is None or self.world_size is None:
            return None
        return self.wall_time_s * self.world_size / 3600


class SettingFile(File):
    """A network of the factorial."""

    mixer: Name
    size: str | None
    model: str
    overrides: dict[str, Any]


class CellFile(File):
    """A setting's levels of the three factors."""

    shared_positions: bool
    channel_groups: Literal["channel", "group", "all"]
    dynamic: bool


class Tier(File):
    """A length of training; all settings of a tier share the recipe."""

    epochs: FiniteFloat
    recipe: dict[str, Any]


class DesignFile(File):
    """`results/factorial/design.json`."""

    task: TaskName
    metric: Name
    image_size: int | None = None
    data: DataFacts
    seeds: list[int]
    tiers: dict[Name, Tier]
    settings: dict[Name, SettingFile]
    cells: dict[Name, CellFile]
    controls: dict[Name, Name] = Field(default_factory=dict)
    contrasts: dict[Name, list[tuple[Name, Name]]] = Field(default_factory=dict)
    left_out: dict[Name, str] = Field(default_factory=dict)
    mlflow_run_id: str | None = None
    commit: str | None = None
    dirty: bool = False


class LeftOutFile(File):
    """A setting that the search did not try, and why."""

    values: dict[str, Any]
    reason: str


class Space(File):
    """`results/tune/search.json`."""

    task: TaskName
    metric: Name
    mode: Literal["max", "min"]
    searcher: str
    scheduler: str
    hold_out: FiniteFloat
    space: dict[str, list[Any]]
    seeds: list[int]
    epochs: FiniteFloat
    image_size: int | None = None
    data: DataFacts
    recipe: dict[str, Any] = Field(default_factory=dict)
    left_out: list[LeftOutFile] = Field(default_factory=list)
    trials: int
    mlflow_run_id: str | None = None
    commit: str | None = None
    dirty: bool = False


class Best(File):
    """`results/tune/best.json`; without `values` no trial finished, for the `reason`."""

    values: dict[str, Any] | None
    reason: str = ""
    mean: FiniteFloat | None = None
    sd: FiniteFloat | None = None
    seeds: list[int] = Field(default_factory=list)
    variant: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class FactorialResults:
    """The crossed experiment; `trials` has every row, failed ones too."""

    design: DesignFile
    trials: tuple[TrialFile, ...]
    folder: Path

    def tier(self, name: str) -> list[TrialFile]:
        """The rows of one tier."""
        return [trial for trial in self.trials if trial.tier == name]

    @property
    def tiers(self) -> list[str]:
        """Tiers in which a run finished, the longest training first."""
        ran = {trial.tier for trial in self.trials if trial.state == "finished"}
        return sorted(ran, key=lambda name: (-self.design.tiers[name].epochs, name))


@dataclass(frozen=True)
class SearchResults:
    """The search over settings; `pictures` are those that its stage drew."""

    space: Space
    best: Best
    trials: tuple[TrialFile, ...]
    pictures: tuple[Path, ...]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What was varied."""
        return tuple(self.space.space)


def read_factorial(call: Call) -> FactorialResults | None:
    """Read the factorial; None where it has not been run.

    Raises:
        UserError: a file of it is missing, garbled, or does not fit the others.
    """
    folder = call.source(lambda folders: folders.results("factorial"))
    if not folder.is_dir():
        return None
    design, path = read_json(folder / "design.json", DesignFile), folder / "trials.csv"
    _check_names(folder / "design.json", design)
    trials = _read_trials(path, design.metric, lambda row: row)
    for trial in trials:
        if trial.tier not in design.tiers or trial.setting not in design.settings:
            raise UserError(
                f"{path} has a row of '{trial.tier} {trial.setting}' that design.json lacks; "
                f"{AGAIN}"
            )
    return FactorialResults(design, trials, folder)


def read_search(call: Call) -> SearchResults | None:
    """Read the search; None where it has not been run.

    Raises:
        UserError: a file of it is missing or garbled.
    """
    folder = call.source(lambda folders: folders.results("tune"))
    if not folder.is_dir():
        return None
    space = read_json(folder / "search.json", Space)

    def named(row: dict[str, Any]) -> dict[str, Any]:
        values = {key: _as_in(choices, row.get(key, "")) for key, choices in space.space.items()}
        return {**row, "values": values, "setting": called(values), "tier": "search"}

    trials = _read_trials(folder / "trials.csv", space.metric, named)
    heats = sorted(folder.glob("heat_*.png"))
    pictures = [
        path for path in (*heats, folder / "curves.png", folder / "pareto.png") if path.is_file()
    ]
    return SearchResults(space, read_json(folder / "best.json", Best), trials, tuple(pictures))


def called(values: dict[str, Any]) -> str:
    """A setting of the search in words, as in `dwnet, kernel_size 7`; the mixer comes first,
    without its key.
    """
    words = [
        str(value) if key == "mixer" else f"{key} {'default' if value is None else value}"
        for key, value in sorted(values.items(), key=_mixer_first)
    ]
    return " ".join(", ".join(words).replace("`", "'").split())


def _mixer_first(item: tuple[str, Any]) -> int:
    order = ("mixer", "kernel_size", "groups", "group_channels")
    return order.index(item[0]) if item[0] in order else len(order)


def _as_in(choices: list[Any], text: str) -> Any:
    """A cell of the table as the space has it, with its type."""
    return next(
        (value for value in choices if str("" if value is None else value) == text), text or None
    )


def _check_names(path: Path, design: DesignFile) -> None:
    known = design.settings.keys() | design.left_out.keys()
    pairs = [name for contrasts in design.contrasts.values() for pair in contrasts for name in pair]
    for name in [*design.cells, *design.controls, *design.controls.values(), *pairs]:
        if name not in known:
            raise UserError(f"{path} names '{name}', which is no setting of it; {AGAIN}")
    if design.data.train_samples <= 0:
        raise UserError(
            f"{path} says it was trained on {design.data.train_samples} samples; {AGAIN}"
        )


def _read_trials(
    path: Path, metric: str, named: Callable[[dict[str, Any]], dict[str, Any]]
) -> tuple[TrialFile, ...]:
    """Read the rows; a finished one has its main metric, and no setting has a seed twice."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table ({error}); {AGAIN}") from None
    trials: list[TrialFile] = []
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(
                f"{path} has a row with too few or too many cells in line {line}; {AGAIN}"
            )
        filled = {key: text for key, text in row.items() if text != ""}
        facts = named({**filled, "value": filled.get(metric), "best": filled.get(f"best_{metric}")})
        try:
            trial = TrialFile.model_validate(facts)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            message = discreet(
                f"{path} does not fit at '{where}' in line {line}: {first['msg']}; {AGAIN}"
            )
            raise UserError(message) from None
        if trial.state == "finished" and trial.value is None:
            raise UserError(f"{path} lacks {metric} of a finished run in line {line}; {AGAIN}")
        trials.append(trial)
    _check_rows(path, trials)
    return tuple(trials)


def _check_rows(path: Path, trials: list[TrialFile]) -> None:
    """No seed of a setting may stand twice, and its seeds are one network."""
    seen: set[tuple[str, str, int]] = set()
    networks: dict[tuple[str, str], float] = {}
    for trial in trials:
        key = (trial.tier, trial.setting, trial.seed)
        if key in seen:
            raise UserError(f"{path} holds {' '.join(map(str, key))} twice; {AGAIN}")
        seen.add(key)
        for name, count in (("parameters", trial.parameters), ("flops", trial.flops)):
            if count is not None and networks.setdefault((trial.setting, name), count) != count:
                raise UserError(
                    f"{path} gives the runs of '{trial.setting}' more than one number of {name}; "
                    f"{AGAIN}"
                )
