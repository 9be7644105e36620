"""What is held out of the training split: one share of every shard, the same for all, and nothing
lost.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers import write_shards

from pipeline.core.errors import UserError
from pipeline.loading.hold_out import open_split
from pipeline.shards.reader import ShardReader


def keys(reader: ShardReader) -> list[str]:
    return [
        reader.key(shard, index)
        for shard, size in enumerate(reader.shard_sizes)
        for index in range(size)
    ]


@pytest.mark.parametrize("hold_out", [0.01, 0.1, 0.5, 0.99])
def test_the_two_parts_are_the_split(tmp_path: Path, hold_out: float) -> None:
    folder = write_shards(tmp_path / "s", [20, 20, 7, 2, 1], [3])
    train, held = (open_split(folder, part, hold_out) for part in ("train", "held_out"))
    assert sorted(keys(train) + keys(held)) == sorted(keys(ShardReader(folder, "train")))
    assert len(train) == len(keys(train)) and len(held) == len(keys(held))
    assert all(size >= 1 for size in train.shard_sizes)
    assert held.shard_sizes == [min(max(1, round(n * hold_out)), n - 1) for n in (20, 20, 7, 2, 1)]


def test_a_share_of_each_shard_is_held_out_at_random(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "s", [400] * 4, [3])
    held = open_split(folder, "held_out", 0.25)
    places = np.array([[held._place(shard, index) for index in range(100)] for shard in range(4)])
    assert all(len(set(row)) == 100 for row in places.tolist())
    assert (
        len({tuple(sorted(row)) for row in places.tolist()}) == 4
    )  # each shard by its own permutation
    assert np.all(np.abs(places.mean(axis=1) - 199.5) < 4 * 400 / np.sqrt(12 * 100))


def test_a_part_reads_the_samples_that_it_numbers(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "s", [9, 5], [3])
    whole = ShardReader(folder, "train")
    there = {
        whole.key(s, i): whole.read(s, i)
        for s, size in enumerate(whole.shard_sizes)
        for i in range(size)
    }
    for part in (open_split(folder, name, 0.3) for name in ("train", "held_out")):
        copied = pickle.loads(pickle.dumps(part))  # as it goes to a loader worker
        for shard, size in enumerate(part.shard_sizes):
            for index in range(size):
                assert (
                    part.read(shard, index)
                    == copied.read(shard, index)
                    == there[part.key(shard, index)]
                )
            with pytest.raises(IndexError):
                part.read(shard, size)


def test_without_holding_out_the_splits_are_themselves(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "s", [4], [3])
    assert (
        type(open_split(folder, "train", 0.0))
        is type(open_split(folder, "val", 0.5))
        is ShardReader
    )
    assert len(open_split(folder, "val", 0.5)) == 3


def test_shards_of_one_sample_hold_nothing_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="single sample"):
        open_split(write_shards(tmp_path / "s", [1, 1], [3]), "held_out", 0.5)
