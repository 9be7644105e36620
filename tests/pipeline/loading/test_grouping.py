"""Micro-batches by shape: the same samples in a step, dealt out alike by every rank, and nothing
changes elsewhere.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Keys, write_shards
from pydantic import ValidationError

from pipeline.core.errors import Unreadable
from pipeline.loading.micro_batches import Ranks, TrainSamples, train_loader
from pipeline.shards.reader import ShardReader
from pipeline.tasks.classify.recipe import Recipe
from pipeline.tasks.detect.recipe import DetectRecipe
from pipeline.tasks.segment.recipe import SegmentRecipe

RECIPE = DetectRecipe(micro_batch=3, micro_batches=4)
AS_IT_COMES = RECIPE.model_copy(update={"group_by_shape": False})
SIDES = [(640, 480), (480, 640), (500, 500), (333, 500), (640, 427)]


def record(number: int) -> bytes:
    width, height = SIDES[number % 7 % 5]
    rows = [
        {"id": i, "width": 1} for i in range(number % 4)
    ]  # a record holds more than its own fields
    return json.dumps(
        {"annotations": rows, "height": height, "width": width}, sort_keys=True
    ).encode()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(
        tmp_path_factory.mktemp("shapes") / "coco", [30, 30, 30, 11], member="json", target=record
    )


def samples(shards: Path, recipe: DetectRecipe) -> TrainSamples:
    return TrainSamples(ShardReader(shards, "train"), Keys(), recipe, seed=3)


def steps(shards: Path, recipe: DetectRecipe, world: int = 1) -> list[list[list[str]]]:
    """Return the keys of each step's micro-batches over two epochs, as the ranks of a world load
    them.
    """
    made = samples(shards, recipe)
    total = 2 * made.steps_per_epoch
    ranks = [
        iter(train_loader(samples(shards, recipe), 0, total, Ranks(rank, world), workers=0))
        for rank in range(world)
    ]
    return [
        [next(ranks[micro % world])["keys"] for micro in range(recipe.micro_batches)]
        for _ in range(total)
    ]


def is_wide(key: str) -> bool:
    width, height = SIDES[int(key[-5:]) % 7 % 5]
    return width > height


def test_a_step_keeps_its_samples_and_mixes_shapes_in_one_micro_batch_at_most(shards: Path) -> None:
    mixed_before = 0
    for grouped, plain in zip(steps(shards, RECIPE), steps(shards, AS_IT_COMES), strict=True):
        keys = [key for micro in grouped for key in micro]
        assert (
            sorted(keys) == sorted(key for micro in plain for key in micro) and len(set(keys)) == 12
        )
        assert [len(keys) for keys in grouped] == [3] * 4
        assert sum(len(set(map(is_wide, keys))) > 1 for keys in grouped) <= 1
        mixed_before += sum(len(set(map(is_wide, keys))) > 1 for keys in plain)
    assert mixed_before > 16  # of 64: shapes do lie mixed otherwise


@pytest.mark.parametrize("world", [2, 4])
def test_every_world_deals_out_the_same(shards: Path, world: int) -> None:
    assert steps(shards, RECIPE, world) == steps(shards, RECIPE)


def test_any_micro_batch_alone_is_what_the_run_has_there(shards: Path) -> None:
    whole = samples(shards, RECIPE)
    expected = {
        (step, micro): whole.places(step, micro) for step in range(12) for micro in range(4)
    }
    asked = sorted(expected, key=lambda at: hash((at[1], -at[0])))
    again = samples(shards, RECIPE)
    assert {at: again.places(*at) for at in asked} == expected


def test_without_it_a_micro_batch_is_cut_from_the_order(shards: Path) -> None:
    made = samples(shards, AS_IT_COMES)
    for step in range(2 * made.steps_per_epoch):
        epoch, inside = divmod(step, made.steps_per_epoch)
        order = made.order(epoch).at(np.arange(12 * inside, 12 * inside + 12))
        assert [place for micro in range(4) for place in made.places(step, micro)] == order


def test_only_detection_knows_it() -> None:
    assert (
        RECIPE.group_by_shape and not Recipe().group_by_shape and not SegmentRecipe().group_by_shape
    )
    for recipe in (Recipe, SegmentRecipe):
        with pytest.raises(ValidationError):
            recipe.model_validate({"group_by_shape": True})


def test_a_target_alone_is_the_one_that_the_whole_sample_has(shards: Path) -> None:
    reader = ShardReader(shards, "train")
    for shard, size in enumerate(reader.shard_sizes):
        assert all(reader.target(shard, i) == reader.read(shard, i)["json"] for i in range(size))
    with pytest.raises(IndexError):
        reader.target(0, 30)


def test_a_damaged_target_is_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "coco", [3], member="json", target=record)
    path = folder / "train" / "000000.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"train00001.json")] ^= 1
    path.write_bytes(data)
    reader = ShardReader(folder, "train")
    assert reader.target(0, 0) == record(0)
    with pytest.raises(Unreadable, match="000000"):
        reader.target(0, 1)
    path.write_bytes(data[:-2000])
    with pytest.raises(Unreadable):
        ShardReader(folder, "train").target(0, 2)
