"""Everything of a run that must survive a kill. Nothing in it depends on the number of ranks."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.params import BaseRecipe
from pipeline.training import optimizer

PROGRESS_FIELDS = (  # of a state: what a checkpoint holds beside networks and optimizer
    "step",
    "seconds",
    "train_seconds",
    "best",
    "history",
    "per_class",
    "right",
    "confused",
    "interval_loss",
    "interval_steps",
    "interval_skipped",
    "skipped",
)


@dataclass
class State:
    """Weights, their average, the optimizer, the scaler, and how far the run is."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    step: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    right: dict[str, Any] | None = None
    confused: list[dict[str, Any]] = field(default_factory=list)
    interval_loss: float = 0.0
    interval_steps: int = 0
    interval_skipped: int = 0
    skipped: int = 0

    @classmethod
    def fresh(cls, model: nn.Module, recipe: BaseRecipe, device: torch.device) -> "State":
        """Return the state before the first step."""
        scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "fp16")
        average = None
        if recipe.ema is not None:
            average = AveragedModel(
                model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
            )
        return cls(model, optimizer.create(model, recipe.optimizer, device), scaler, average)

    @property
    def eval_model(self) -> nn.Module:
        """The weights that are evaluated and published: the average where the recipe keeps one."""
        return self.model if self.ema is None else self.ema.module

    def to_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            **{name: getattr(self, name) for name in PROGRESS_FIELDS},
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take over a checkpoint's content."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])

        for name in PROGRESS_FIELDS:
            # an adopted one may lack what is newer
            setattr(self, name, saved.get(name, getattr(self, name)))
