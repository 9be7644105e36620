"""Micro-batches: the unit that the order, the augmentation and batch norm are defined on.

A micro-batch is a function of (seed, step, its index in the step); ranks divide whole
micro-batches, and loader workers only prefetch them. So neither the number of ranks nor of workers
changes what is in one.

Where shards come by URL, a thread of each rank fetches those of the next shuffle block while one is
in use.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.core.errors import Unreadable, UserError
from pipeline.loading.grouping import Place, by_shape
from pipeline.loading.order import EpochOrder
from pipeline.loading.sampling import Sampling
from pipeline.loading.sizes import Int, Sizes
from pipeline.params import BaseRecipe
from pipeline.shards.reader import ShardReader
from pipeline.shards.remote.prefetch import Prefetcher


@dataclass(frozen=True)
class Ranks:
    """Which of the processes that train together this one is; by itself without arguments.

    Attributes:
        rank: this process, counted from 0.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Broken:
    """What a loader gives in a micro-batch's place, so that all ranks hear of it before they
    compute.

    A sample that cannot be decoded or augmented is so for everybody and ever again; what cannot be
    read perhaps only here and now (`again`), and may be tried another time.
    """

    sentence: str
    again: bool = False

    @property
    def error(self) -> UserError:
        """What ends the run, or this process."""
        return (Unreadable if self.again else UserError)(self.sentence)


def _batch(
    reader: ShardReader,
    sampling: Sampling,
    places: Callable[[], list[Place]],
    sample: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any] | Broken:
    """Return the samples at some places as one batch; where one is broken, what its key is and what
    is wrong.
    """
    key = ""
    try:
        samples = []
        for place in places():
            key = ""
            raw = reader.read(*place)
            key = raw["__key__"]
            samples.append(sample(raw))

        key = ", ".join(sample["key"] for sample in samples if "key" in sample)
        return sampling.collate(samples)
    except Unreadable as error:
        return Broken(str(error), again=True)
    except Exception as error:
        if not key or isinstance(error, MemoryError):  # nothing is known of a sample
            raise
        reason = next(iter(str(error).splitlines()), "")
        return Broken(
            f"{reader.folder.name}, {reader.split}: sample {key} cannot be prepared by the recipe "
            f"({type(error).__name__}: {reason}); mend its files or the recipe's augment"
        )


class TrainSamples(Dataset[dict[str, Any] | Broken]):
    """Micro-batches by (step, index in the step), each as the task collates it."""

    def __init__(
        self, reader: ShardReader, sampling: Sampling, recipe: BaseRecipe, seed: int
    ) -> None:
        self.reader = reader
        self.sampling = sampling
        self.recipe = recipe
        self.seed = seed

        self.steps_per_epoch = len(reader) // recipe.global_batch
        self._sizes = Sizes.of(reader.shard_sizes)
        self._order: tuple[int, EpochOrder] | None = None
        self._grouped: tuple[int, list[Place]] | None = None

    def order(self, epoch: int) -> EpochOrder:
        """Return the order of an epoch, kept until another one is asked for."""
        if self._order is None or self._order[0] != epoch:
            order = EpochOrder(self._sizes, self.seed, epoch, self.recipe.shuffle_block)
            self._order = epoch, order
        return self._order[1]

    def places(self, step: int, micro: int) -> list[Place]:
        """Return (shard, index) of each sample of a micro-batch."""
        start = micro * self.recipe.micro_batch
        size = self.recipe.micro_batch

        if not self.recipe.group_by_shape:
            return self._ordered(step, start, size)

        if self._grouped is None or self._grouped[0] != step:
            step_places = self._ordered(step, 0, self.recipe.global_batch)
            self._grouped = step, by_shape(self.reader, step_places)

        return self._grouped[1][start : start + size]

    def _ordered(self, step: int, start: int, size: int) -> list[Place]:
        """Return the places of `size` samples of a step from its sample number `start` on."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start += inside * self.recipe.global_batch
        return self.order(epoch).at(np.arange(start, start + size))

    def blocks(self, step: int) -> list[tuple[int, int]]:
        """Return (epoch, block) of the shuffle blocks that a step's samples lie in."""
        epoch, inside = divmod(step, self.steps_per_epoch)
        start = inside * self.recipe.global_batch
        order = self.order(epoch)
        first = order.block_at(start)
        last = order.block_at(start + self.recipe.global_batch - 1)
        return [(epoch, block) for block in range(first, last + 1)]

    def __getitem__(self, at: tuple[int, int]) -> dict[str, Any] | Broken:
        epoch = at[0] // self.steps_per_epoch
        sample = partial(self.sampling.train_sample, seed=self.seed, epoch=epoch)
        return _batch(self.reader, self.sampling, partial(self.places, *at), sample)


class EvalSamples(Dataset[dict[str, Any] | Broken]):
    """Consecutive micro-batches of a split, the last one as short as it falls."""

    def __init__(self, reader: ShardReader, sampling: Sampling, size: int) -> None:
        self.reader = reader
        self.sampling = sampling
        self.size = size
        self._sizes = Sizes.of(reader.shard_sizes)

    def __len__(self) -> int:
        return -(-len(self.reader) // self.size)

    def __getitem__(self, index: int) -> dict[str, Any] | Broken:
        return self._batch(self.places(index))

    def places(self, index: int) -> list[Place]:
        """Return (shard, index) of each sample of a micro-batch."""
        return self._places(
            np.arange(index * self.size, min((index + 1) * self.size, len(self.reader)))
        )

    def spread(self, count: int) -> dict[str, Any] | Broken:
        """Return up to `count` samples from all over the split, which may be sorted by class."""
        size = len(self.reader)
        return self._batch(self._places(np.linspace(0, size - 1, min(count, size), dtype=np.int64)))

    def shards(self, index: int) -> list[int]:
        """Return the shards that a micro-batch lies in, and the one after them where there is
        one.
        """
        places = self.places(index)
        return list(range(places[0][0], min(places[-1][0] + 2, self._sizes.count)))

    def _places(self, positions: Int) -> list[Place]:
        shards, indices = self._sizes.find(positions)
        return list(zip(shards.tolist(), indices.tolist(), strict=True))

    def _batch(self, places: list[Place]) -> dict[str, Any] | Broken:
        return _batch(self.reader, self.sampling, lambda: places, self.sampling.eval_sample)


class StepShare:
    """The (step, micro-batch) pairs of one rank from `first` step to `last`, without listing
    them.
    """

    def __init__(self, first: int, last: int, micro_batches: int, ranks: Ranks) -> None:
        self.steps = range(first, last)
        self.micros = range(ranks.rank, micro_batches, ranks.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((step, micro) for step in self.steps for micro in self.micros)

    def __len__(self) -> int:
        return len(self.steps) * len(self.micros)


class PrefetchingSampler(Sampler[Any]):
    """A sampler that wishes for shards before it hands out the index that needs them."""

    def __init__(
        self, indices: StepShare | range, reader: ShardReader, needed: Callable[[Any], Any]
    ) -> None:
        """Wish for `needed(index)`, an iterable of shards or None where nothing changes."""
        self.indices = indices
        self.reader = reader
        self.needed = needed

    def __iter__(self) -> Iterator[Any]:
        ahead = Prefetcher(self.reader.bring)
        try:
            for index in self.indices:
                if (shards := self.needed(index)) is not None:
                    ahead.want(shards)
                yield index
        finally:
            ahead.close()

    def __len__(self) -> int:
        return len(self.indices)


class BlockPlan:
    """Says which shards to fetch as the steps go by: those of the blocks in use, then those of the
    next block.
    """

    def __init__(self, samples: TrainSamples, last: int) -> None:
        """Fetch nothing for the steps from `last` on, and no more at a time than the cache
        holds.
        """
        self.samples = samples
        self.last = last
        self._told: list[tuple[int, int]] = []

    def __call__(self, at: tuple[int, int]) -> list[int] | None:
        """Return the shards to wish for at a (step, micro-batch), None where they are the same as
        before.
        """
        blocks = self._blocks(at[0])
        if blocks == self._told:
            return None
        self._told = blocks
        return self._that_fit(
            shard for epoch, block in blocks for shard in self.samples.order(epoch).shards_of(block)
        )

    def _blocks(self, step: int) -> list[tuple[int, int]]:
        blocks = self.samples.blocks(step)
        epoch, block = blocks[-1]
        after = (
            (epoch, block + 1) if block + 1 < self.samples.order(epoch).blocks else (epoch + 1, 0)
        )
        return [*blocks, after] if after <= self.samples.blocks(self.last - 1)[-1] else blocks

    def _that_fit(self, shards: Iterable[int]) -> list[int]:
        """Keep the first shards that the cache holds together, so that none pushes out one before
        it.
        """
        reader = self.samples.reader
        fitting = []
        total = 0
        limit = reader.cache.limit if reader.cache else 0

        for shard in shards:
            total += reader.shard_bytes(shard)
            if total > limit:
                break
            fitting.append(shard)

        return fitting


def train_loader(
    samples: TrainSamples, first: int, last: int, ranks: Ranks, workers: int
) -> DataLoader[Any]:
    """Return this rank's micro-batches of steps first to last, in order."""
    share = StepShare(first, last, samples.recipe.micro_batches, ranks)
    return _loader(samples, share, BlockPlan(samples, last), workers)


def eval_loader(samples: EvalSamples, ranks: Ranks, workers: int) -> DataLoader[Any]:
    """Return this rank's part of a split: each sample is on one rank, once.

    Its workers stay for the next time.
    """
    share = range(ranks.rank, len(samples), ranks.world)
    return _loader(samples, share, samples.shards, workers, stay=workers > 0)


def _loader(
    samples: TrainSamples | EvalSamples,
    share: StepShare | range,
    needed: Callable[[Any], Any],
    workers: int,
    stay: bool = False,
) -> DataLoader[Any]:
    remote = samples.reader.cache is not None

    # a fork of a process with threads may lock up; a fork server imports once for all workers
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *samples.sampling.libraries])
    if workers:
        forkserver.ensure_running()  # it imports while this process builds the network

    return DataLoader(
        samples,
        batch_size=None,
        sampler=PrefetchingSampler(share, samples.reader, needed) if remote else share,
        num_workers=workers,
        persistent_workers=stay,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        multiprocessing_context=context if workers else None,
    )
