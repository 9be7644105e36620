"""One step of a run: gradients of its micro-batches, their mean over ranks, the update."""

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.aggregate import kernels
from pipeline.core.errors import UserError
from pipeline.loading.sampling import Batch
from pipeline.training import batchnorm
from pipeline.training.collectives import all_gather, all_ranks
from pipeline.training.interval import Interval
from pipeline.training.precision import autocast
from pipeline.training.schedule import lr_at
from pipeline.training.setup import Setup
from pipeline.training.state import State


class Step:
    """Takes the steps of a run on one rank, and counts them in `interval`."""

    def __init__(self, setup: Setup, state: State, wrapped: nn.Module, interval: Interval) -> None:
        """Prepare the steps; `wrapped` is the state's model, averaging gradients over ranks."""
        self.setup = setup
        self.recipe = setup.recipe
        self.state = state
        self.wrapped = wrapped
        self.interval = interval
        self.micro_batches_here = setup.recipe.micro_batches // setup.ranks.world
        self._norms = batchnorm.norms_of(state.model)

    def take(self, step: int, batches: list[Batch]) -> Tensor | None:
        """Take step number `step` with this rank's micro-batches, and return this rank's loss; None
        for a step that is skipped.

        One of four things happens. A finite step is taken. An infinite gradient under fp16 is
        expected now and then: the step is skipped, and the scaler lowers its scale. Where anything
        else is not finite, the recipe says whether the run stops, or the step is skipped and leaves
        everything as it was, batch norm's running statistics too.

        Raises:
            UserError: on every rank, where a loss or the gradient is not finite and the recipe says
                to stop there.
        """
        state = self.state
        statistics = self._statistics()
        for group in state.optimizer.param_groups:
            group["lr"] = lr_at(step, self.recipe, self.setup.train_samples.steps_per_epoch)

        losses = [self._backward(step, index, batch) for index, batch in enumerate(batches)]
        state.scaler.unscale_(state.optimizer)  # the norm to clip at is that of true gradients
        clip = self.recipe.optimizer.clip_grad or float("inf")
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), clip)
        finite_loss, finite_gradient = self._finite(losses, norm)

        loss = None
        overflow_expected = state.scaler.is_enabled()
        if finite_loss and finite_gradient:
            loss = self._update(losses)
        elif finite_loss and overflow_expected:
            self._skip(step, "gradient under fp16")
        elif self.recipe.on_non_finite == "stop":
            raise UserError(self._non_finite(step, losses, batches))
        else:
            for statistic, before in statistics:
                statistic.copy_(before)
            self._skip(step, "loss" if not finite_loss else "gradient")

        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        return loss

    def _update(self, losses: list[Tensor]) -> Tensor:
        """Update the weights and their average; return this rank's mean loss."""
        self.state.scaler.step(self.state.optimizer)
        if self.state.ema is not None:
            self.state.ema.update_parameters(self.state.model)
        loss = torch.stack(losses).mean()
        self.interval.add(loss, self.recipe.global_batch)
        return loss

    def _statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Return the running statistics with copies, where a step may have to be undone."""
        if self.recipe.on_non_finite != "skip":
            return []
        return [(part, part.clone()) for part in batchnorm.statistics_of(self._norms)]

    def _backward(self, step: int, index: int, batch: Batch) -> Tensor:
        """Add one micro-batch's gradient; only the last of a step talks to the other ranks."""
        batchnorm.set_momentum(self._norms, index, self.micro_batches_here)
        ranks = self.setup.ranks
        micro = ranks.rank + index * ranks.world

        last = index == self.micro_batches_here - 1
        no_sync = not last and hasattr(self.wrapped, "no_sync")
        with cast(Any, self.wrapped).no_sync() if no_sync else nullcontext():
            with autocast(self.recipe.amp, self.setup.device), kernels(self.recipe.kernels):
                prepared = self.setup.logic.prepare(batch, self.setup.device)
                seed = (self.setup.run.seed, step, micro)
                loss = self.setup.logic.loss(self.wrapped, prepared, seed)
            # outside of autocast, whose types backward takes over; within no_sync, or DDP averages
            self.state.scaler.scale(loss / self.micro_batches_here).backward()
        return loss.detach()

    def _finite(self, losses: list[Tensor], norm: Tensor) -> tuple[bool, bool]:
        """Say whether all losses and the gradient's norm are finite; all ranks come to the same
        answer.
        """
        flags = torch.stack([torch.stack(losses).isfinite().all(), norm.isfinite()]).float()
        loss, gradient = all_ranks(flags, self.setup.ranks)
        return loss, gradient

    def _skip(self, step: int, culprit: str) -> None:
        """Count a step that is not taken, and say so the first time."""
        self.interval.skip(self.recipe.global_batch)
        if self.state.skipped == 0:
            self.setup.announce(
                f"step {step} has a non-finite {culprit} and is passed over; such steps are counted"
            )
        self.state.skipped += 1

    def _non_finite(self, step: int, losses: list[Tensor], batches: list[Batch]) -> str:
        """Return the sentence that names step and samples, the same on every rank."""
        keys_here = [
            key
            for loss, batch in zip(losses, batches, strict=True)
            if not loss.isfinite()
            for key in batch["keys"]
        ]
        keys = [
            key for keys_of_rank in all_gather(keys_here, self.setup.ranks) for key in keys_of_rank
        ]

        culprit = (
            f"loss of the micro-batch with samples {', '.join(keys)}"
            if keys
            else "gradient (each loss is finite)"
        )
        return (
            f"{self.setup.run.label}: step {step} has a non-finite {culprit}; "
            "lower optimizer.lr or set on_non_finite: skip"
        )
