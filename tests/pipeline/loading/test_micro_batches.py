"""What is in a step depends on neither ranks nor loader workers; evaluation sees each sample
once.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.loading.micro_batches import (
    EvalSamples,
    Ranks,
    TrainSamples,
    eval_loader,
    train_loader,
)
from pipeline.shards.reader import ShardReader
from pipeline.tasks.classify.logic import mix
from pipeline.tasks.classify.recipe import Augment, Recipe
from pipeline.tasks.classify.sampling import ClassifySampling

STEPS = 7


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe(
        image_size=32,
        eval_resize=32,
        micro_batch=4,
        micro_batches=4,
        augment=Augment(rand_augment=None),
    )


def steps_of(
    shards: Path, recipe: Recipe, world: int, workers: int
) -> list[list[tuple[list[str], Any]]]:
    """Return, for each step, the keys and pixels of its micro-batches in order of their index."""
    by_rank = []
    for rank in range(world):
        samples = TrainSamples(
            ShardReader(shards, "train"), ClassifySampling(recipe), recipe, seed=3
        )
        loader = train_loader(samples, 0, STEPS, Ranks(rank, world), workers)
        by_rank.append([(batch["keys"], batch["images"].numpy().copy()) for batch in loader])
    each = recipe.micro_batches // world
    return [
        [by_rank[m % world][step * each + m // world] for m in range(recipe.micro_batches)]
        for step in range(STEPS)
    ]


@pytest.mark.parametrize(("world", "workers"), [(1, 2), (2, 0), (4, 0)])
def test_steps_are_the_same_on_any_ranks_and_workers(
    small_shards: Path, recipe: Recipe, world: int, workers: int
) -> None:
    for mine, reference in zip(
        steps_of(small_shards, recipe, world, workers),
        steps_of(small_shards, recipe, 1, 0),
        strict=True,
    ):
        assert [keys for keys, _ in mine] == [keys for keys, _ in reference]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(mine, reference, strict=True))


def test_an_epoch_repeats_no_sample_and_epochs_differ(small_shards: Path, recipe: Recipe) -> None:
    samples = TrainSamples(
        ShardReader(small_shards, "train"), ClassifySampling(recipe), recipe, seed=3
    )
    per_epoch = samples.steps_per_epoch
    epochs = [
        [
            place
            for step in range(e * per_epoch, (e + 1) * per_epoch)
            for m in range(4)
            for place in samples.places(step, m)
        ]
        for e in range(2)
    ]
    assert all(len(set(epoch)) == len(epoch) == per_epoch * recipe.global_batch for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_starting_in_the_middle_gives_the_rest(small_shards: Path, recipe: Recipe) -> None:
    samples = TrainSamples(
        ShardReader(small_shards, "train"), ClassifySampling(recipe), recipe, seed=3
    )
    whole = [batch["keys"] for batch in train_loader(samples, 0, STEPS, Ranks(), 0)]
    rest = [batch["keys"] for batch in train_loader(samples, 4, STEPS, Ranks(), 0)]
    assert rest == whole[4 * recipe.micro_batches :]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_evaluation_sees_each_sample_once(small_shards: Path, recipe: Recipe, world: int) -> None:
    reader = ShardReader(small_shards, "val")
    samples = EvalSamples(reader, ClassifySampling(recipe), 5)
    keys = [
        k
        for rank in range(world)
        for batch in eval_loader(samples, Ranks(rank, world), 0)
        for k in batch["keys"]
    ]
    assert sorted(keys) == sorted(
        reader.key(s, i) for s, n in enumerate(reader.shard_sizes) for i in range(n)
    )


def test_mixing_is_a_function_of_its_seed_and_keeps_the_mass() -> None:
    images, targets = (
        torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
        torch.eye(6),
    )
    numbers = Augment(mixup=0.8, cutmix=1.0)
    kinds = set()
    for step in range(40):
        np.random.seed(step)  # NumPy's global state must not matter
        first, mixed = mix(images, targets, numbers, (0, step, 1))
        again, _ = mix(images, targets, numbers, (0, step, 1))
        assert torch.equal(first, again)
        torch.testing.assert_close(mixed.sum(1), torch.ones(6))
        keep = float(mixed[0, 0])
        same = float((first == images).float().mean())
        if (
            0 < same == pytest.approx(keep, abs=1e-5)
        ):  # the share of kept pixels is the share of the kept target
            kinds.add("cutmix")
        else:
            kinds.add("mixup")
            torch.testing.assert_close(first, keep * images + (1 - keep) * images.flip(0))
    assert kinds == {"cutmix", "mixup"}


def test_every_augmentation_of_the_paper_is_a_function_of_seed_epoch_sample(
    small_shards: Path,
) -> None:
    recipe = Recipe(image_size=32, eval_resize=32)
    raw = ShardReader(small_shards, "train").read(0, 0)
    sampling = ClassifySampling(recipe)
    first = sampling.train_sample(raw, 1, 2)["image"]
    np.random.seed(0), torch.manual_seed(0)
    assert np.array_equal(first, ClassifySampling(recipe).train_sample(raw, 1, 2)["image"])
    others = [sampling.train_sample(raw, seed, epoch)["image"] for seed, epoch in [(1, 3), (2, 2)]]
    assert all(not np.array_equal(first, other) for other in others)
