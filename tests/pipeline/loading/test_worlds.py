"""Any number of shards, ranks and loader workers: the same steps of the same samples, each once,
and nobody hangs.
"""

import functools
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers import Keys, write_shards

from pipeline.loading.micro_batches import (
    EvalSamples,
    Ranks,
    StepShare,
    TrainSamples,
    eval_loader,
    train_loader,
)
from pipeline.shards.reader import ShardReader
from pipeline.tasks.classify.recipe import Augment, Recipe

SHARDS, WORLDS, WORKERS = range(1, 18), range(1, 9), range(5)
MICRO_BATCHES = 840  # what 1 to 8 ranks all divide
EVAL_BATCH = 7


class Described:
    """A reader as far as places go: sizes without files."""

    cache = None

    def __init__(self, shard_sizes: list[int]) -> None:
        self.shard_sizes = shard_sizes

    def __len__(self) -> int:
        return sum(self.shard_sizes)


def uneven(count: int) -> list[int]:
    """So many shards: uneven, some of one sample, the last one short; a few more samples than two
    steps need.
    """
    sizes = [1 if shard % 5 == 4 else 40 + 7 * (shard % 3) for shard in range(count - 1)] + [3]
    sizes[0] += max(0, 2 * MICRO_BATCHES + 11 - sum(sizes))
    return sizes


def recipe_of(micro_batch: int, micro_batches: int, block: int | Literal["all"] = "all") -> Recipe:
    return Recipe(
        image_size=32,
        eval_resize=32,
        micro_batch=micro_batch,
        micro_batches=micro_batches,
        shuffle_block=block,
        augment=Augment(rand_augment=None),
    )


def dealt(indices: Any, workers: int) -> list[Any]:
    """Return indices as they come out of a DataLoader, which deals them to its workers in turn and
    collects in turn.
    """
    given = list(indices)
    if workers == 0:
        return given
    hands = [iter(given[worker::workers]) for worker in range(workers)]
    return [next(hands[number % workers]) for number in range(len(given))]


@functools.cache
def epoch_of(count: int) -> tuple[TrainSamples, dict[tuple[int, int], tuple[int, int]]]:
    """Return the samples over `count` shards and the place of each (step, micro-batch of one
    sample).
    """
    samples = TrainSamples(Described(uneven(count)), Keys(), recipe_of(1, MICRO_BATCHES, 3), seed=5)  # type: ignore[arg-type]
    steps = range(samples.steps_per_epoch)
    return samples, {
        (step, micro): samples.places(step, micro)[0]
        for step in steps
        for micro in range(MICRO_BATCHES)
    }


@pytest.mark.parametrize("count", SHARDS)
def test_every_world_takes_the_same_steps(count: int) -> None:
    samples, places = epoch_of(count)
    steps = samples.steps_per_epoch
    assert steps == 2 and len(set(places.values())) == len(
        places
    )  # each sample once; the rest is left out
    for world in WORLDS:
        for workers in WORKERS:
            asked = [
                dealt(StepShare(0, steps, MICRO_BATCHES, Ranks(rank, world)), workers)
                for rank in range(world)
            ]
            assert {len(pairs) for pairs in asked} == {steps * MICRO_BATCHES // world}
            for rank, pairs in enumerate(asked):  # in the order in which the loop takes them
                each = MICRO_BATCHES // world
                assert pairs == [(n // each, rank + n % each * world) for n in range(len(pairs))]
            assert Counter(places[pair] for pairs in asked for pair in pairs) == Counter(
                places.values()
            )


@pytest.mark.parametrize("count", SHARDS)
def test_every_world_evaluates_each_sample_once(count: int) -> None:
    sizes = [1 if shard % 4 == 3 else 5 for shard in range(count)]
    samples = EvalSamples(Described(sizes), Keys(), EVAL_BATCH)  # type: ignore[arg-type]
    expected = [(shard, index) for shard, size in enumerate(sizes) for index in range(size)]
    for world in WORLDS:
        shares = [eval_loader(samples, Ranks(rank, world), 0).sampler for rank in range(world)]
        for workers in WORKERS:
            batches = sorted(index for share in shares for index in dealt(share, workers))
            assert [place for index in batches for place in samples.places(index)] == expected


@pytest.mark.parametrize("block", ["all", 2])
@pytest.mark.parametrize("micro_batches", [6, 12])
def test_a_run_continues_on_any_world_where_another_stopped(
    micro_batches: int, block: int | Literal["all"]
) -> None:
    described, recipe = Described([9, 14, 1, 14, 14, 5]), recipe_of(2, micro_batches, block)
    samples = TrainSamples(described, Keys(), recipe, 1)  # type: ignore[arg-type]
    last = 3 * samples.steps_per_epoch
    worlds = [world for world in (1, 2, 3, 4) if micro_batches % world == 0]

    def steps_of(world: int, first: int) -> list[list[tuple[int, int]]]:
        asked = [
            iter(StepShare(first, last, micro_batches, Ranks(rank, world))) for rank in range(world)
        ]
        turns = [
            [next(asked[micro % world]) for micro in range(micro_batches)]
            for _ in range(first, last)
        ]
        return [[place for pair in turn for place in samples.places(*pair)] for turn in turns]

    whole = steps_of(1, 0)
    assert [len(set(step)) for step in whole] == [2 * micro_batches] * last
    for first in range(last):
        for world in worlds:
            assert steps_of(world, first) == whole[first:]


def keys_of(
    shards: Path, world: int, workers: int, first: int = 0
) -> tuple[list[list[str]], list[str]]:
    """Return the keys of each global step, and of the evaluation, from real loaders."""
    recipe = recipe_of(2, 12, 3)
    train, val = [], []
    for rank in range(world):
        samples = TrainSamples(ShardReader(shards, "train"), Keys(), recipe, seed=3)
        loader = train_loader(samples, first, 5, Ranks(rank, world), workers)
        train.append(iter([batch["keys"] for batch in loader]))
        evaluated = EvalSamples(ShardReader(shards, "val"), Keys(), EVAL_BATCH)
        val += [
            key
            for batch in eval_loader(evaluated, Ranks(rank, world), workers)
            for key in batch["keys"]
        ]
    steps = [
        [key for micro in range(12) for key in next(train[micro % world])] for _ in range(first, 5)
    ]
    assert all(next(rest, None) is None for rest in train)  # equal steps on all ranks
    return steps, sorted(val)


def check_real(folder: Path, count: int, world: int, workers: int) -> None:
    sizes = (
        [60] * count
        if count < 3
        else [1 if shard % 5 == 4 else 25 for shard in range(count - 1)] + [3]
    )
    shards = write_shards(folder, train=sizes, val=[2] * min(count, 3))
    steps, evaluated = keys_of(shards, 1, 0)
    assert evaluated == [f"val{number:05d}" for number in range(2 * min(count, 3))]
    assert keys_of(shards, world, workers, first=1) == (steps[1:], evaluated)


@pytest.mark.parametrize(
    ("count", "world", "workers"), [(1, 2, 1), (5, 3, 0), (17, 1, 4), (17, 12, 0)]
)
def test_real_loaders_at_the_corners(tmp_path: Path, count: int, world: int, workers: int) -> None:
    check_real(tmp_path / "shards", count, world, workers)


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 3, 4])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("count", [1, 3, 17])
def test_real_loaders_all_over(tmp_path: Path, count: int, world: int, workers: int) -> None:
    check_real(tmp_path / "shards", count, world, workers)


def test_an_evaluation_without_batches_ends(tmp_path: Path) -> None:
    """A rank that has nothing to evaluate still gives its sums to the others."""
    from pipeline.tasks.classify.accuracy import Accuracy

    samples = EvalSamples(
        ShardReader(write_shards(tmp_path / "s", [1], [3]), "val"), Keys(), EVAL_BATCH
    )
    assert list(eval_loader(samples, Ranks(5, 8), 0)) == []
    sums, guesses = Accuracy(["a", "b"]).state()
    assert not sums.any() and guesses == []
