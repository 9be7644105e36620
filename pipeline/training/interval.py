"""Loss, speed and time between two evaluations."""

import time

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.loading.micro_batches import Ranks
from pipeline.training.state import State


class Interval:
    """Loss and speed since the last evaluation; evaluation time does not count as training."""

    def __init__(self, state: State) -> None:
        self.started = time.monotonic()
        self.images = 0
        self.steps = state.interval_steps
        self.loss = torch.tensor(state.interval_loss, dtype=torch.float64)
        self.skipped = state.interval_skipped

    def add(self, loss: Tensor, images: int) -> None:
        """Count a step that was taken; the loss stays on its device until somebody asks."""
        self.loss = self.loss.to(loss.device) + loss.double()
        self.steps += 1
        self.images += images

    def skip(self, images: int) -> None:
        """Count a step that was passed over: it took its time, and its loss says nothing."""
        self.skipped += 1
        self.images += images

    def mean(self) -> float | None:
        """Return this rank's mean loss over the steps that were taken; None where none was."""
        return float(self.loss) / self.steps if self.steps else None

    def rate(self) -> float:
        """Return images per second over all ranks, since the last evaluation or restart."""
        return self.images / max(1e-9, time.monotonic() - self.started)

    def average_over_ranks(self, ranks: Ranks) -> float:
        """Replace the loss by its mean over ranks, so that a continued and a resumed run add up the
        same.
        """
        if ranks.world > 1:
            dist.all_reduce(self.loss)
        self.loss = self.loss / ranks.world
        return float(self.loss)

    def close(self, state: State, ranks: Ranks) -> tuple[float | None, float]:
        """End the interval: return the mean loss over ranks, as `mean` does, and the images per
        second.
        """
        rate = self.rate()
        seconds = time.monotonic() - self.started
        state.train_seconds += seconds
        state.seconds += seconds

        loss = self.average_over_ranks(ranks) / self.steps if self.steps else None
        self.started = time.monotonic()
        return loss, rate

    def restart(self, state: State) -> None:
        """Begin the next interval; the evaluation just done counts as wall time only."""
        state.seconds += time.monotonic() - self.started
        self.started = time.monotonic()
        self.images = 0
        self.steps = 0
        self.skipped = 0
        self.loss = torch.zeros_like(self.loss)
