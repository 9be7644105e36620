"""What a task gives to the engine, which knows no task by name."""

import importlib
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.evaluators import Evaluator
from pipeline.params import Task
from pipeline.shards.manifest import Manifest

Batch = dict[str, Any]


class Sampling(Protocol):
    """The part that loader workers need: raw sample to training or evaluation sample, samples to batch."""

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        """Decode and augment, as a function of (seed, epoch, sample)."""
        ...

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Decode and resize, without randomness."""
        ...

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """Stack samples into one batch; `keys` holds their names."""
        ...


class TaskLogic(Protocol):
    """One task: its model, samples, loss and metrics."""

    main_metric: str
    drawn: int
    """How many images `draw` is given."""

    @property
    def eval_batch(self) -> int:
        """Images at a time in evaluation."""
        ...

    sampling: Sampling

    def build(self) -> nn.Module:
        """Return the model with fresh weights, drawn from torch's global generator."""
        ...

    def start_from(self, model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
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


LOGIC = {"classify": "Classify", "detect": "Detect", "segment": "Segment"}
"""Task name, which is that of its module, to the class in it."""


def create(task: str, section: Task, variant: str, manifest: Manifest) -> TaskLogic:
    """Return a task's logic for one of its variants."""
    module = importlib.import_module(f"pipeline.tasks.{task}")
    logic: TaskLogic = getattr(module, LOGIC[task])(section.variants[variant], section.recipe_of(variant), manifest)
    return logic
