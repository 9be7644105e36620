"""What the search and the factorial design publish: trials, design, search, best."""

from typing import Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat

from pipeline.core.records import Count, Record
from pipeline.params.folders import TaskName
from pipeline.runs.results.fields import DataFacts, Name, Number, Overrides, Positive, Size
from pipeline.runs.results.training import HistoryLine


class TrialCosts(Record):
    """What a trial took: the last columns of `trials.csv`."""

    parameters: Count | None = None
    macs: Number | None = None
    train_images_per_second: Number | None = None
    wall_time_s: Number | None = None
    world_size: Count | None = None
    device: str = ""
    mlflow_run_id: str | None = None
    error: str = ""


COSTS = tuple(TrialCosts.model_fields)
"""The columns of trials.csv behind the metrics."""


class TrialLine(TrialCosts):
    """A line of `trials.csv`, one a setting and seed; metrics and what was varied by name.

    A cell that the stage left empty is missing.
    """

    model_config = ConfigDict(extra="allow")
    run_id: str = ""
    seed: Count
    state: Literal["finished", "stopped", "failed"]
    epoch: Number | None = None


class CurveLine(HistoryLine):
    """A line of `curves.csv`, one a trial and evaluation; its metrics follow by name."""

    run_id: str


class SettingFile(Record):
    """A network of the factorial; `own_recipe` is what it changes in the recipe of its budget."""

    mixer: Name
    size: Size | None
    model: str
    overrides: Overrides
    own_recipe: dict[str, Any] = Field(default_factory=dict)


class CellFile(Record):
    """A setting's levels of the three factors."""

    shared_positions: bool
    channel_groups: Literal["channel", "group", "all"]
    dynamic: bool


class TierFile(Record):
    """A length of training; all settings of a budget share the recipe."""

    epochs: FiniteFloat
    recipe: dict[str, Any]


class TriedFile(Record):
    """What the files of the search and of the factorial have in common."""

    task: TaskName
    metric: Name
    mode: Literal["max", "min"] = "max"
    image_size: Positive | None = None
    data: DataFacts
    seeds: list[int]
    mlflow_run_id: str | None = None
    commit: str | None = None
    dirty: bool = False


class DesignFile(TriedFile):
    """`results/factorial/design.json`."""

    budgets: dict[Name, TierFile]
    settings: dict[Name, SettingFile]
    cells: dict[Name, CellFile]
    controls: dict[Name, Name] = Field(default_factory=dict)
    contrasts: dict[Name, list[tuple[Name, Name]]] = Field(default_factory=dict)
    left_out: dict[Name, str] = Field(default_factory=dict)


class LeftOutFile(Record):
    """A setting that the search did not try, and why."""

    values: dict[str, Any]
    reason: str


class RangeFile(Record):
    """Numbers between which a random search drew."""

    low: Number
    high: Number
    log: bool = False


class SearchFile(TriedFile):
    """`results/tune/search.json`."""

    searcher: str
    scheduler: str
    hold_out: FiniteFloat
    space: dict[str, list[Any] | RangeFile]
    epochs: FiniteFloat
    recipe: dict[str, Any] = Field(default_factory=dict)
    left_out: list[LeftOutFile] = Field(default_factory=list)
    trials: Count


class BestFile(Record):
    """`results/tune/best.json`; without `values` no trial finished, for the `reason`."""

    metric: Name | None = None
    values: dict[str, Any] | None
    reason: str = ""
    mean: FiniteFloat | None = None
    sd: FiniteFloat | None = None
    seeds: list[int] = Field(default_factory=list)
    run_ids: list[str] = Field(default_factory=list)
    variant: dict[str, Any] = Field(default_factory=dict)
