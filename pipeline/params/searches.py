"""The sections of params.yaml that try many settings: the search (`tune`) and the factorial design
(`factorial`).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from pipeline.params.folders import TaskName
from pipeline.params.registry import classifier, tasks
from pipeline.params.section import Name, Positive, Section, Seeds
from pipeline.params.variants import Variant


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"should be a number, got {value!r}")
    return value


Number = Annotated[int | float, BeforeValidator(_number)]


class Range(Section):
    """Numbers from `low` to `high` for the random searcher; whole ones where both ends are, `log`
    for scales.
    """

    low: Number
    """Least value."""
    high: Number
    """Largest value."""
    log: bool = False
    """Draw from the logarithm."""

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse a range whose ends are swapped, and logarithms of what has none."""
        if not self.low < self.high:
            raise ValueError(f"needs low < high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low > 0, got {self.low}")
        return self


def _choices(value: Any) -> Any:
    """Take one value for a list of one."""
    return value if isinstance(value, (dict, list, tuple, Range)) else [value]


Values = Annotated[tuple[Any, ...], Field(min_length=1)]
Axis = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Values, Tag("values")],
    Discriminator(lambda value: "range" if isinstance(value, (dict, Range)) else "values"),
    BeforeValidator(_choices),
]


class Asha(Section):
    """Asynchronous successive halving: at each rung the best 1/`reduction` of the trials so far go
    on.

    The first rung is at `grace` of the `time_attribute`, and each next one `reduction` times as
    far.
    """

    time_attribute: Literal["epoch", "step"] = "epoch"
    """What rungs are counted in."""
    grace: Annotated[float, Field(gt=0)] = 1
    """Where the first rung is, in epochs or steps."""
    reduction: Annotated[float, Field(gt=1)] = 3
    """One of so many trials goes on at a rung, and the next is so many times as far."""


class Trials(Section):
    """What the search and the factorial have in common: a task, what differs from its recipe, and
    the workers.

    `workers` train one trial together; as many trials run at once as the cluster holds,
    `concurrent` at most.
    """

    task: TaskName = Field(default_factory=classifier)
    """Task whose variants are tried."""
    seeds: Seeds = (0,)
    """Each setting is trained with every one."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Fields of a variant that all trials share."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    """What differs from the task's recipe, under the same keys."""
    metric: str | None = None
    """Metric that settings are compared in; null: the task's main one."""
    workers: Positive = 1
    """Processes that train one trial together."""
    concurrent: Positive | None = None
    """Most trials at once; null: as many as the cluster holds."""

    @model_validator(mode="after")
    def judged(self) -> Self:
        """Check that trials of the task report the metric, and that no seed is there twice."""
        if self.metric is not None and self.metric not in tasks()[self.task].in_trials:
            raise ValueError(
                f"metric {self.metric}: no trial of {self.task} reports it; one of "
                f"{', '.join(tasks()[self.task].in_trials)}"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds names a seed twice")
        return self

    @property
    def judged_by(self) -> str:
        """The metric that settings are compared in."""
        return self.metric or tasks()[self.task].main_metric

    @property
    def mode(self) -> Literal["min", "max"]:
        """Whether a smaller or a larger value is better."""
        return "min" if tasks()[self.task].metrics[self.judged_by].lower_is_better else "max"


class Tune(Trials):
    """The search: every setting of `space` (or `samples` random ones) on top of `base`, with every
    seed.

    `space` maps a field of a variant (`mixer`, `kernel_size`, `group_channels`, ...) or `recipe.`
    and a dotted name in the recipe to its values. Trials are judged on the part `hold_out` of the
    training set, which they do not train on.
    """

    space: dict[str, Axis] = Field(default_factory=dict)
    """Values of a variant's field, or of `recipe.` and a key: a list, or {low, high, log}."""
    searcher: Literal["grid", "random"] = "grid"
    """Every setting, or `samples` random ones."""
    samples: Positive | None = None
    """random: how many settings to draw."""
    search_seed: Annotated[int, Field(ge=0)] = 0
    """random: what settings are drawn from."""
    scheduler: Literal["none", "asha"] = "none"
    """Whether bad trials are stopped early."""
    asha: Asha = Asha()
    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the training samples that trials are judged by."""

    @model_validator(mode="after")
    def searchable(self) -> Self:
        """Check the searcher against the space."""
        ranges = [name for name, axis in self.space.items() if isinstance(axis, Range)]
        if self.searcher == "grid" and ranges:
            raise ValueError(
                f"space.{ranges[0]} is a range; list its values, or set searcher: random"
            )
        if (self.searcher == "random") != (self.samples is not None):
            raise ValueError(
                "samples goes with `searcher: random`, which needs it: how many settings to draw"
            )
        return self


class Factorial(Trials):
    """Sharing over positions x channels per group x dynamic weights, crossed in the depth-wise
    skeleton.

    `group_channels` gives the levels of sharing over channels: how many channels share a weight, or
    `all`. `controls` adds, for each cell with more parameters than the static convolution, that
    convolution with a feed-forward network as much wider. `settings` are further variants,
    `contrasts` the pairs among them and the cells that differ in one thing. Each budget trains
    everything once more, with its own changes to the recipe.
    """

    group_channels: tuple[Positive | Literal["all"], ...] = ()
    """Levels of sharing: channels that share a weight, or all."""
    controls: bool = True
    """Add static convolutions as large as the cells with more parameters."""
    settings: dict[Name, Variant] = Field(default_factory=dict)
    """Further variants, by name."""
    contrasts: dict[Name, tuple[tuple[Name, Name], ...]] = Field(default_factory=dict)
    """Pairs of settings or cells to compare, by the name of a group."""
    budgets: dict[Name, dict[str, Any]] = Field(default_factory=lambda: {"full": dict[str, Any]()})
    """What differs from the recipe, by the name of a budget; each trains everything once."""

    @model_validator(mode="after")
    def levels(self) -> Self:
        """Refuse a level that is there twice, and a factorial without a budget."""
        if len(set(self.group_channels)) != len(self.group_channels):
            raise ValueError("group_channels names a level twice")
        if len(self.group_channels) > 3:
            raise ValueError(
                "group_channels has more than three levels: each channel alone, groups, all "
                "together"
            )
        if not self.budgets:
            raise ValueError(
                "budgets is empty; `budgets: {full: {}}` trains everything once by the recipe"
            )
        return self
