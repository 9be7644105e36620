"""Micro-batches: the unit that the order, the augmentation and batch norm are defined on.

A micro-batch is a function of (seed, step, its index in the step); ranks divide whole micro-batches, and loader
workers only prefetch them. So neither the number of ranks nor of workers changes what is in one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.loading.order import EpochOrder
from pipeline.params import Recipe
from pipeline.shards.reader import ShardReader
from pipeline.tasks import Sampling

Place = tuple[int, int]


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1


class TrainSamples(Dataset[dict[str, Any]]):
    """Micro-batches by (step, index in the step), each as the task collates it."""

    def __init__(self, reader: ShardReader, sampling: Sampling, recipe: Recipe, seed: int) -> None:
        self.reader, self.sampling, self.recipe, self.seed = reader, sampling, recipe, seed
        self.steps_per_epoch = len(reader) // recipe.global_batch
        self._order: tuple[int, EpochOrder] | None = None

    def order(self, epoch: int) -> EpochOrder:
        """Return the order of an epoch, kept until another one is asked for."""
        if self._order is None or self._order[0] != epoch:
            order = EpochOrder(self.reader.shard_sizes, self.seed, epoch, self.recipe.shuffle_block)
            self._order = epoch, order
        return self._order[1]

    def places(self, step: int, micro: int) -> list[Place]:
        """Return (shard, index) of each sample of a micro-batch."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.recipe.global_batch + micro * self.recipe.micro_batch
        return self.order(epoch).at(np.arange(start, start + self.recipe.micro_batch))

    def __getitem__(self, at: tuple[int, int]) -> dict[str, Any]:
        step, micro = at
        epoch = step // self.steps_per_epoch
        samples = [
            self.sampling.train_sample(self.reader.read(*place), self.seed, epoch) for place in self.places(step, micro)
        ]
        return self.sampling.collate(samples)


class EvalSamples(Dataset[dict[str, Any]]):
    """Consecutive micro-batches of a split, the last one as short as it falls."""

    def __init__(self, reader: ShardReader, sampling: Sampling, size: int) -> None:
        self.reader, self.sampling, self.size = reader, sampling, size
        self._starts = np.concatenate([[0], np.cumsum(reader.shard_sizes)])

    def __len__(self) -> int:
        return -(-len(self.reader) // self.size)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._batch(range(index * self.size, min((index + 1) * self.size, len(self.reader))))

    def spread(self, count: int) -> dict[str, Any]:
        """Return up to `count` samples from all over the split, which may be sorted by class."""
        return self._batch(np.linspace(0, len(self.reader) - 1, min(count, len(self.reader)), dtype=int).tolist())

    def _batch(self, positions: Iterable[int]) -> dict[str, Any]:
        return self.sampling.collate([self.sampling.eval_sample(self.reader.read(*self._place(p))) for p in positions])

    def _place(self, position: int) -> Place:
        shard = int(np.searchsorted(self._starts, position, side="right")) - 1
        return shard, position - int(self._starts[shard])


class Share(Sampler[Any]):
    """The indices that one rank asks for, in order."""

    def __init__(self, indices: list[Any]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[Any]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


class StepShare(Sampler[tuple[int, int]]):
    """The (step, micro-batch) pairs of one rank from `first` step to `last`, without listing them."""

    def __init__(self, first: int, last: int, micro_batches: int, ranks: Ranks) -> None:
        self.steps, self.micros = range(first, last), range(ranks.rank, micro_batches, ranks.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((step, micro) for step in self.steps for micro in self.micros)

    def __len__(self) -> int:
        return len(self.steps) * len(self.micros)


def train_loader(samples: TrainSamples, first: int, last: int, ranks: Ranks, workers: int) -> DataLoader[Any]:
    """Return this rank's micro-batches of steps first to last, in order."""
    return _loader(samples, StepShare(first, last, samples.recipe.micro_batches, ranks), workers)


def eval_loader(samples: EvalSamples, ranks: Ranks, workers: int) -> DataLoader[Any]:
    """Return this rank's part of a split: each sample is on one rank, once. Its workers stay for the next time."""
    return _loader(samples, Share(list(range(ranks.rank, len(samples), ranks.world))), workers, stay=workers > 0)


def _loader(samples: Dataset[Any], share: Sampler[Any], workers: int, stay: bool = False) -> DataLoader[Any]:
    return DataLoader(
        samples, batch_size=None, sampler=share, num_workers=workers, pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None, multiprocessing_context="forkserver" if workers else None,
    )  # fmt: skip
