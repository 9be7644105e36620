"""The files under results/: one schema each, through which they are written and read.

Who publishes builds a model and writes it; who reads gets the same model back, or one sentence.
A file may hold more than its model, as one of a later version does; none is written with more.
"""

import csv
import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from pipeline.core.csv import csv_text
from pipeline.core.errors import UserError, discreet
from pipeline.core.files import finite, write_json, write_text
from pipeline.core.records import Adopted, Count, Record, Right, Rounded
from pipeline.params.folders import TaskName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AGAIN = "run its stage again"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Size = Literal["micro", "tiny", "small", "base"]
Positive = Annotated[int, Field(gt=0)]
Number = Annotated[FiniteFloat, WrapValidator(lambda value, check: _as_it_came(value, check))]
"""A number that is written as it came: whole, or with a point."""
Evaluated = dict[str, Number | None]
"""An evaluation's numbers by name; None where one is not defined."""


def _as_it_came(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    number = check(value)
    return value if type(value) is int else number


def _with_a_width(overrides: dict[str, Any]) -> dict[str, Any]:
    width = overrides.get("embed_dim")
    if width is not None and (type(width) is not int or width <= 0):
        raise ValueError(f"embed_dim should be a whole number above 0, got {width!r}")
    return overrides


Overrides = Annotated[dict[str, Any], AfterValidator(_with_a_width)]
"""What differs from a named network; its width is one that a network can have."""


class DataFacts(Record):
    """What a run was trained and judged on."""

    dataset: str
    source: str
    manifest: str
    train_samples: Positive
    val_samples: Count
    classes: Count
    evaluated_on: Literal["val", "train", "held_out"] = "val"

    @property
    def synthetic(self) -> bool:
        """Whether the images were generated."""
        return self.source == "synthetic"


class SeedRow(Record):
    """One seed of a run; `final` is the last evaluation, `best` the best one by the main metric."""

    seed: Count
    run_id: str
    mlflow_run_id: str | None = None
    final: Evaluated
    best: Evaluated
    train_images_per_second: Rounded
    wall_time_s: Rounded
    skipped_steps: Count | None = None
    adopted: Adopted | None = None

    @property
    def last(self) -> dict[str, float]:
        """What is defined of the last evaluation."""
        return _defined(self.final)

    @property
    def peak(self) -> dict[str, float]:
        """What is defined of the best evaluation."""
        return _defined(self.best)


def _defined(evaluated: Evaluated) -> dict[str, float]:
    return {name: value for name, value in evaluated.items() if value is not None}


class Metrics(Record):
    """`results/<task>/<variant>/metrics.json`.

    Parameters and MACs are those with as many classes as the data have; MACs are there where all
    images are of one size.
    """

    task: TaskName
    variant: str
    mixer: str
    size: Size | None
    model: str
    overrides: Overrides
    main_metric: Name
    data: DataFacts
    parameters: Count
    macs: Count | None = None
    recipe: dict[str, Any]
    world_size: Positive
    device: str
    commit: str | None
    dirty: bool
    final: Evaluated
    best: Evaluated
    train_images_per_second: Rounded
    wall_time_s: Rounded
    seeds: Annotated[list[SeedRow], Field(min_length=1)]

    @model_validator(mode="after")
    def judged(self) -> Self:
        """Check that no seed is there twice, and that each has the main metric."""
        seeds = [row.seed for row in self.seeds]
        if len(set(seeds)) != len(seeds):
            raise ValueError("it holds a seed twice")
        if any(self.main_metric not in part for row in self.seeds for part in (row.last, row.peak)):
            raise ValueError(f"it lacks its main metric {self.main_metric} in a seed")
        return self

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


class HistoryLine(Record):
    """A line of `history.csv`, one a seed and evaluation; its metrics follow by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number | None]
    seed: Count
    epoch: Number | None = None
    step: Count | None = None
    lr: Number | None = None
    train_loss: Number | None = None
    skipped_steps: Count | None = None
    images_per_second: Number | None = None


class ClassLine(Record):
    """A line of `per_class.csv`: one class at the end of one seed; its metrics follow by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number | None]
    seed: Count
    name: str = Field(alias="class")


class RightRow(Right):
    """Which images a seed had right at its last evaluation."""

    seed: Count

    @property
    def right(self) -> "NDArray[np.bool_]":
        """Whether each image was right, in the order of the split (images,)."""
        import numpy as np

        packed = np.frombuffer(b64decode(self.bits), np.uint8)
        return np.unpackbits(packed, count=self.images).astype(bool)

    @model_validator(mode="after")
    def whole(self) -> Self:
        """Check that there are as many bits as images."""
        try:
            size = len(b64decode(self.bits, validate=True))
        except ValueError:
            size = -1
        if size != -(-self.images // 8):
            raise ValueError("its bits are not those of as many images")
        return self


class PredictionsFile(Record):
    """`predictions.json`: which images of the split each seed had right at its last evaluation.

    Images come in the order of the split: shard by shard as `manifest.json` names them, and in a
    shard as they lie in it. A seed takes a bit an image, 8.4 KB for 50,000.
    """

    metric: Name
    manifest: str
    evaluated_on: Literal["val", "train", "held_out"]
    seeds: Annotated[list[RightRow], Field(min_length=1)]


class ProfileFile(Record):
    """`results/profile/<variant>/profile.json`.

    Parameters and MACs are those with `classes` classes, the paper's 1,000; `metrics.json` has
    those with the classes of the data. Speeds have the quartiles over the timed batches; `boot`
    names the machine since it started, `measured` is the time in seconds since 1970: both tell
    sessions apart.
    """

    variant: str
    mixer: str
    size: Size | None
    model: str
    overrides: Overrides
    parameters: Count
    macs: Annotated[Number, Field(gt=0)]
    macs_rule: str
    classes: Count = 1000
    image_size: Positive
    batch_size: Positive
    device: str
    threads: Positive
    precision: str
    layout: str
    inference_images_per_second: Rounded
    train_images_per_second: Rounded
    inference_quartiles: list[Rounded] | None = None
    train_quartiles: list[Rounded] | None = None
    inference_macs_per_second: Number | None = None
    load_average: FiniteFloat | None = None
    peak_memory_mb: FiniteFloat | None = None
    warmup: Count
    timed: Positive
    torch: str | None = None
    boot: str | None = None
    measured: Count | None = None
    doubts: list[str] = Field(default_factory=list)


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


HISTORY = tuple(HistoryLine.model_fields)
"""The columns of history.csv before the metrics."""
COSTS = tuple(TrialCosts.model_fields)
"""The columns of trials.csv behind the metrics."""
File = TypeVar("File", bound=Record)


def publish_json(path: Path, model: type[File], content: Mapping[str, Any]) -> File:
    """Write a file as its readers will take it, null where a number is not finite, and return it as
    they do.

    Raises:
        ValidationError: it does not fit, or holds what the model does not know.
    """
    text = json.dumps(finite(content))
    fitting = model.model_validate_json(text, extra="forbid")
    write_json(path, fitting.model_dump(by_alias=True, exclude_unset=True))
    return fitting


def publish_table(
    path: Path, model: type[Record], columns: Sequence[str], lines: Iterable[Mapping[str, Any]]
) -> None:
    """Write a table under these columns; a line may have columns by name beside its model's own."""
    fitting = [model.model_validate(finite(line)) for line in lines]
    rows = [line.model_dump(by_alias=True, exclude_unset=True) for line in fitting]
    write_text(path, csv_text(columns, rows))


def read_json(path: Path, model: type[File]) -> File:
    """Read a results file.

    Raises:
        UserError: it cannot be read, is not JSON, or does not fit the model.
    """
    try:
        data = path.read_bytes()
        json.loads(data)
        return model.model_validate_json(data)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {AGAIN}") from None
    except ValidationError as error:
        raise UserError(f"{path} does not fit{_where(error)}; {AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); {AGAIN}") from None


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the lines of a table; a cell that is empty is missing.

    Raises:
        UserError: it cannot be read, or a line has too few or too many cells.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table ({error}); {AGAIN}") from None
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UserError(
                f"{path} has a row with too few or too many cells in line {line}; {AGAIN}"
            )
    return [{key: text for key, text in row.items() if text != ""} for row in rows]


def line_of(path: Path, line: int, model: type[File], cells: Mapping[str, Any]) -> File:
    """Read one line of a table, whose cells are text.

    Raises:
        UserError: it does not fit the model.
    """
    try:
        return model.model_validate(cells, strict=False)
    except ValidationError as error:
        message = f"{path} does not fit{_where(error, f' in line {line}')}; {AGAIN}"
        raise UserError(discreet(message)) from None


def _where(error: ValidationError, place: str = "") -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")
    return f" at '{where}'{place}: {reason}" if where else f"{place}: {reason}"
