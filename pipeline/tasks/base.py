"""What a task gives to the engine, which knows no task by name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.loading.sampling import Batch, Sampling
from pipeline.params import Task
from pipeline.params.registry import member, tasks
from pipeline.shards.manifest import Manifest


@dataclass(frozen=True)
class Result:
    """Metrics by name, and by class name where a task has them for single classes; numbers are
    finite.

    `correct` says which samples were right, where a sample is right or wrong: how many `images`,
    and a bit for each in the order of the split, in base64 (`bits`); files call it `right`.
    `confused` says how many `images` of the class `label` were taken for the class `guess`.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    correct: dict[str, Any] | None = None
    confused: list[dict[str, Any]] = field(default_factory=list)


class Evaluator(Protocol):
    """Collects over batches on one rank; `result` joins the ranks."""

    def update(self, outputs: Any, batch: dict[str, Any]) -> None:
        """Add one batch and what was predicted for it."""
        ...

    def state(self) -> Any:
        """Return what was collected, in a form that pickles."""
        ...

    def result(self, states: list[Any]) -> Result:
        """Return the metrics from the states of all ranks, in the order of ranks."""
        ...


class TaskLogic(Protocol):
    """One task: its model, samples, loss and metrics."""

    main_metric: str
    """Decides which weights are the best; larger is better. It stands here although the task's
    `about.py` lists it first, since a logic's file is in a run's id, and `about.py` is not; a test
    holds both together.
    """
    draw_count: int
    """How many images `draw` is given."""

    @property
    def eval_batch(self) -> int:
        """Images at a time in evaluation."""
        ...

    sampling: Sampling

    def build(self) -> nn.Module:
        """Return the model with fresh weights, drawn from torch's global generator."""
        ...

    def load_given(self, model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
        """Load given weights and return the names left fresh."""
        ...

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Move a batch to the device and normalise it."""
        ...

    def loss(self, model: nn.Module, batch: Batch, seed: tuple[int, int, int]) -> Tensor:
        """Return the mean loss of a prepared micro-batch; `seed` is (seed, step, micro-batch)."""
        ...

    def predict(self, model: nn.Module, batch: Batch) -> Any:
        """Return what the evaluator takes for a prepared batch; the model is in eval mode."""
        ...

    def evaluator(self) -> Evaluator:
        """Return an empty evaluator."""
        ...

    def draw(self, model: nn.Module, batch: Batch, raw: Batch) -> Any:
        """Return a PIL image of predictions to look at."""
        ...


def create(task: str, section: Task, variant: str, manifest: Manifest) -> TaskLogic:
    """Return a task's logic for one of its variants."""
    logic: TaskLogic = member(tasks()[task].logic)(
        section.variants[variant], section.recipe_of(variant), manifest
    )
    return logic


def macs(task: str, section: Task, variant: str, manifest: Manifest) -> int | None:
    """Return the MACs of one image in a variant's network, with as many classes as the data have.

    None where its images are of many sizes, and for networks of other people that cannot be built
    without memory.
    """
    recipe = section.recipe_of(variant)
    if recipe.network_size is None:
        return None

    count = member(tasks()[task].operations)
    try:
        counted = count(section.variants[variant], recipe, len(manifest.classes), aspect=1.0)
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
    return int(counted.evaluation)


def distinct(names: Sequence[str]) -> list[str]:
    """Return class names, those that repeat with their number, so that results by name lose
    none.
    """
    times = Counter(names)
    return [
        name if times[name] == 1 else f"{name} (class {index})" for index, name in enumerate(names)
    ]
