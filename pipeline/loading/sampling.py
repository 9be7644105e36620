"""What a task gives to its loader workers: raw samples to samples, samples to batches."""

from typing import Any, Protocol

Batch = dict[str, Any]


class Sampling(Protocol):
    """The part that loader workers need: raw sample to training or evaluation sample, samples to
    batch.
    """

    libraries: tuple[str, ...]
    """Modules that its transforms import, which takes seconds; loader workers are forked from a
    process that has them.
    """

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        """Decode and augment, as a function of (seed, epoch, sample)."""
        ...

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Decode and resize, without randomness."""
        ...

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """Stack samples into one batch; `keys` holds their names."""
        ...
