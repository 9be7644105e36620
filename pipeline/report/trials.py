"""What the search and the factorial published: their designs, and a row for each setting and
seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat

from pipeline.core.errors import UserError
from pipeline.project.call import Call
from pipeline.runs.results.fields import Name
from pipeline.runs.results.files import AGAIN, line_of, read_json, read_table
from pipeline.runs.results.search import BestFile, DesignFile, RangeFile, SearchFile, TrialLine


class TrialFile(TrialLine):
    """One setting and seed; `value` and `best` are of the main metric, `values` what was varied."""

    budget: Name = "search"
    setting: str
    value: FiniteFloat | None = None
    best: FiniteFloat | None = None
    values: dict[str, Any] = Field(default_factory=dict)

    @property
    def hours(self) -> float | None:
        """Hours of all its workers together."""
        if self.wall_time_s is None or self.world_size is None:
            return None
        return self.wall_time_s * self.world_size / 3600


@dataclass(frozen=True)
class FactorialResults:
    """The factorial design; `trials` has every row, failed ones too."""

    design: DesignFile
    trials: tuple[TrialFile, ...]
    folder: Path

    def budget(self, name: str) -> list[TrialFile]:
        """Return the rows of one budget."""
        return [trial for trial in self.trials if trial.budget == name]

    @property
    def budgets(self) -> list[str]:
        """Budgets in which a run finished, the longest training first."""
        ran = {trial.budget for trial in self.trials if trial.state == "finished"}
        return sorted(ran, key=lambda name: (-self.design.budgets[name].epochs, name))


@dataclass(frozen=True)
class SearchResults:
    """The search over settings; `pictures` are those that its stage drew."""

    space: SearchFile
    best: BestFile
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

    design = read_json(folder / "design.json", DesignFile)
    path = folder / "trials.csv"
    _check_names(folder / "design.json", design)

    trials = _read_trials(path, design.metric, lambda row: row)
    for trial in trials:
        if trial.budget not in design.budgets or trial.setting not in design.settings:
            raise UserError(
                f"{path} has a row of '{trial.budget} {trial.setting}' that design.json lacks; "
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
    space = read_json(folder / "search.json", SearchFile)

    def named(row: dict[str, Any]) -> dict[str, Any]:
        values = {key: _as_in(choices, row.get(key, "")) for key, choices in space.space.items()}
        return {**row, "values": values, "setting": called(values), "budget": "search"}

    trials = _read_trials(folder / "trials.csv", space.metric, named)
    pictures = [path for path in (folder / "curves.png", folder / "pareto.png") if path.is_file()]
    return SearchResults(space, read_json(folder / "best.json", BestFile), trials, tuple(pictures))


def called(values: dict[str, Any]) -> str:
    """Return a setting of the search in words, as in `dwnet, kernel_size 7`; the mixer comes first,
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


def _as_in(choices: list[Any] | RangeFile, text: str) -> Any:
    """Return a cell of the table as the space has it, with its type."""
    if isinstance(choices, RangeFile):
        return _number(text)
    return next(
        (value for value in choices if str("" if value is None else value) == text), text or None
    )


def _number(text: str) -> int | float | str | None:
    """Return a number that was drawn from a range, whole where it was written so."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def _check_names(path: Path, design: DesignFile) -> None:
    settings = design.settings.keys() | design.left_out.keys()
    pairs = [name for contrasts in design.contrasts.values() for pair in contrasts for name in pair]

    for name in [*design.cells, *design.controls, *design.controls.values(), *pairs]:
        if name not in settings:
            raise UserError(f"{path} names '{name}', which is no setting of it; {AGAIN}")


def _read_trials(
    path: Path, metric: str, named: Callable[[dict[str, Any]], dict[str, Any]]
) -> tuple[TrialFile, ...]:
    """Read the rows; a finished one has its main metric, and no setting has a seed twice."""
    trials: list[TrialFile] = []
    for line, row in enumerate(read_table(path), start=2):
        facts = named({**row, "value": row.get(metric), "best": row.get(f"best_{metric}")})
        trial = line_of(path, line, TrialFile, facts)
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
        key = (trial.budget, trial.setting, trial.seed)
        if key in seen:
            raise UserError(f"{path} holds {' '.join(map(str, key))} twice; {AGAIN}")
        seen.add(key)

        for name, count in (("parameters", trial.parameters), ("macs", trial.macs)):
            if count is not None and networks.setdefault((trial.setting, name), count) != count:
                raise UserError(
                    f"{path} gives the runs of '{trial.setting}' more than one number of {name}; "
                    f"{AGAIN}"
                )
