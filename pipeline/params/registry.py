"""What each task and each data set says of itself: the `ABOUT` of its folder's `about.py`.

The folders lie above the params and are found by name, so that none of them stands in a list. An
`about.py` imports nothing that takes long (no torch, no NumPy): every command reads them all.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pipeline.core.errors import UserError
from pipeline.params.data import Dataset, Synthetic
from pipeline.params.folders import DATASETS, TASKS
from pipeline.params.tasks import Task

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Origin:
    """Where a data set is from, and under which terms."""

    title: str
    url: str
    license: str


@dataclass(frozen=True)
class AboutDataset:
    """What a data set is.

    Attributes:
        reader: the module that reads its layout (`pipeline.datasets.base.LayoutReader`).
        target: the extension of the target's member in shards; a task reads targets of one kind.
        classes: how many classes the official data set has.
        images: how many images each split of the official data set has.
        bytes: how large the official archives are, rounded.
        synthetic: the module that draws its synthetic images, in the layout that `reader` reads.
        rehearsal: the synthetic images that a rehearsal trains on.
        rehearsal_width: pixels that those are widened to, where a recipe wants wide images.
        section: its section of params.yaml, `data.<name>`.
        origin: where the official data set is from; None for data of one's own.
    """

    reader: str
    target: str
    classes: int
    images: dict[Split, int]
    bytes: int
    synthetic: str
    rehearsal: Synthetic
    rehearsal_width: int | None = None
    section: type[Dataset] = Dataset
    origin: Origin | None = None


@dataclass(frozen=True)
class Metric:
    """How a number is called, in what unit, and with how many decimals it is written.

    Attributes:
        label: its name for people.
        unit: of the value.
        decimals: of a measured value.
        tolerance: by how much a published value may differ and count as reproduced.
        lower_is_better: whether a smaller value is better.
        in_trials: whether each trial of a search reports it.
    """

    label: str
    unit: str = "%"
    decimals: int = 1
    tolerance: float | None = None
    lower_is_better: bool = False
    in_trials: bool = True


@dataclass(frozen=True)
class PaperScale:
    """What a task's data and length are in the paper; `least_*` forgives the few images that
    loaders leave out.

    `image_size` is the least side of an image, where that makes a run small.
    """

    train: int
    least_train: int
    val: int
    least_val: int
    classes: int
    epochs: float
    image_size: int | None = None


@dataclass(frozen=True)
class AboutTask:
    """What a task is. Where a module's member is named, it is imported when it is needed.

    Attributes:
        label: its name for people.
        logic: the class that trains it (`pipeline.tasks.base.TaskLogic`).
        operations: the function that counts one of its networks (`pipeline.tasks.counting`).
        section: its section of params.yaml, with its recipe and its own data set.
        target: the targets that it reads, by their extension in shards; None: of any kind.
        metrics: what it measures, the main metric first.
        class_metric: the number that it has for single classes, under its name in
            `per_class.csv`; empty where it has none.
        class_label: that number's name and unit for people.
        paper: what makes a run of the paper's size; None: no such run was published.
        code: what decides its results besides its own folder and what all tasks have in common.
        classifier: whether its networks are plain classifiers: profiled, and started from.
        least_images: how many images the smallest micro-batch has.
        results_writer: the function that writes its predictions as a file in a format of their own,
            if any.
        predictor: the class that says what a network sees in any picture, if any
            (`pipeline.tasks.predicting.Predictor`).
    """

    label: str
    logic: str
    operations: str
    section: type[Task]
    target: str | None
    metrics: dict[str, Metric]
    class_metric: str = ""
    class_label: str = ""
    paper: PaperScale | None = None
    code: tuple[str, ...] = ()
    classifier: bool = False
    least_images: int = 1
    results_writer: str | None = None
    predictor: str | None = None

    @property
    def main_metric(self) -> str:
        """The metric that its results are first judged by."""
        return next(iter(self.metrics))

    @property
    def in_trials(self) -> tuple[str, ...]:
        """The metrics that each trial of a search reports, the main metric first."""
        return tuple(name for name, metric in self.metrics.items() if metric.in_trials)


@cache
def datasets() -> dict[str, AboutDataset]:
    """Return the data sets by name."""
    return {name: _about("datasets", name, AboutDataset) for name in DATASETS}


@cache
def tasks() -> dict[str, AboutTask]:
    """Return the tasks by name."""
    return {name: _about("tasks", name, AboutTask) for name in TASKS}


@cache
def metrics() -> dict[str, Metric]:
    """Return the metrics of all tasks by name."""
    return {name: metric for task in tasks().values() for name, metric in task.metrics.items()}


@cache
def classifier() -> str:
    """Return the task whose networks are profiled, and whose weights others start from."""
    return next(name for name, task in tasks().items() if task.classifier)


def member(path: str) -> Any:
    """Return what a dotted path names in a module."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _about(kind: str, name: str, expected: type[Any]) -> Any:
    module = importlib.import_module(f"pipeline.{kind}.{name}.about")
    about = getattr(module, "ABOUT", None)
    if not isinstance(about, expected):
        raise UserError(
            f"{module.__file__} says nothing of {name!r}; it should end in "
            f"`ABOUT = {expected.__name__}(...)`"
        )
    return about
