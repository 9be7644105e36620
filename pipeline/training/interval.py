"""Loss, speed and time between two evaluations."""

import time

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.loading.micro_batches import Ranks
from pipeline.training.state import State


class Interval:
    """Loss, speed and time since the last evaluation; evaluation time does not count as training.

    `skipped` are the steps of this interval that were skipped, `State.skipped` those of the run:
    an evaluation's `skipped_steps` is the former, the record's the latter.
    """

    def __init__(self, state: State, device: torch.device) -> None:
        """Begin where a state is; the loss is on the device that the ranks add it up on."""
        self.started = time.monotonic()
        self.counted = self.started
        self.images = 0
        self.steps = state.interval_steps
        self.loss = torch.tensor(state.interval_loss, dtype=torch.float64, device=device)
        self.skipped = state.interval_skipped

    def add(self, loss: Tensor, images: int) -> None:
        """Count a step that was taken; the loss stays on its device until somebody asks."""
        self.loss = self.loss + loss.double()
        self.steps += 1
        self.images += images

    def skip(self, images: int) -> None:
        """Count a step that was skipped: it took its time, and its loss says nothing."""
        self.skipped += 1
        self.images += images

    def mean(self) -> float | None:
        """Return this rank's mean loss over the steps that were taken; None where none was."""
        return float(self.loss) / self.steps if self.steps else None

    def rate(self) -> float:
        """Return images per second over all ranks, since the last evaluation or restart."""
        return self.images / max(1e-9, time.monotonic() - self.started)

    def average_over_ranks(self, ranks: Ranks) -> float:
        """Replace the loss by its mean over ranks, which a checkpoint holds: an uninterrupted run
        goes on with what a restarted one would read.
        """
        if ranks.world > 1:
            dist.all_reduce(self.loss)
        self.loss = self.loss / ranks.world
        return float(self.loss)

    def count_seconds(self, state: State) -> None:
        """Add to a state the seconds of training that are not in it yet."""
        now = time.monotonic()
        state.train_seconds += now - self.counted
        state.seconds += now - self.counted
        self.counted = now

    def close(self, state: State, ranks: Ranks) -> tuple[float | None, float]:
        """End the interval: return the mean loss over ranks, as `mean` does, and the images per
        second.
        """
        rate = self.rate()
        self.count_seconds(state)
        loss = self.average_over_ranks(ranks) / self.steps if self.steps else None
        return loss, rate

    def restart(self, state: State) -> None:
        """Begin the next interval; the evaluation just done counts as wall time only."""
        self.started = time.monotonic()
        state.seconds += self.started - self.counted
        self.counted = self.started
        self.images = 0
        self.steps = 0
        self.skipped = 0
        self.loss = torch.zeros_like(self.loss)
