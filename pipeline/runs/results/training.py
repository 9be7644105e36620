"""What a variant publishes of its trained runs: metrics.json, history, per class, predictions."""

from base64 import b64decode
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from pipeline.core.records import Adopted, Confused, Count, Record, Right, Rounded
from pipeline.params.folders import TaskName
from pipeline.runs.results.fields import (
    DataFacts,
    MetricValues,
    Name,
    Number,
    Overrides,
    Positive,
    Size,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SeedRow(Record):
    """One seed of a run; `final` is the last evaluation, `best` the best one by the main metric."""

    seed: Count
    run_id: str
    mlflow_run_id: str | None = None
    final: MetricValues
    best: MetricValues
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


def _defined(evaluated: MetricValues) -> dict[str, float]:
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
    final: MetricValues
    best: MetricValues
    train_images_per_second: Rounded
    wall_time_s: Rounded
    seeds: Annotated[list[SeedRow], Field(min_length=1)]

    @model_validator(mode="after")
    def judged(self) -> Self:
        """Check that no seed is there twice, and that each has the main metric."""
        seeds = [row.seed for row in self.seeds]
        if len(set(seeds)) != len(seeds):
            raise ValueError("it holds a seed twice")
        if any(
            self.main_metric not in evaluated
            for row in self.seeds
            for evaluated in (row.last, row.peak)
        ):
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


HISTORY = tuple(HistoryLine.model_fields)
"""The columns of history.csv before the metrics."""


class ClassLine(Record):
    """A line of `per_class.csv`: one class at the end of one seed; its metrics follow by name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number | None]
    seed: Count
    name: str = Field(alias="class")


class ConfusedLine(Confused):
    """A line of `confused.csv`: images of one class taken for another at the end of one seed."""

    seed: Count


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
