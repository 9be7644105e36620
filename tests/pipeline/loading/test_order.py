"""The order is a bijection, a pure function of its inputs, and cheap at any position."""

import tracemalloc
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loading.order import EpochOrder, permute, unpermute
from pipeline.loading.randomness import seed_for
from pipeline.loading.sizes import Sizes

Block = int | Literal["all"]
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)
blocks = st.one_of(st.just("all"), st.integers(1, 14))

GOLDEN = [(0, 37), (3, 0), (0, 29), (1, 19), (1, 12), (2, 29), (1, 37), (2, 17)]


@given(st.integers(1, 3000), st.integers(0, 2**62))
def test_permute_is_a_bijection(size: int, key: int) -> None:
    permuted = permute(np.arange(size), size, key)
    assert np.array_equal(np.sort(permuted), np.arange(size))
    assert np.array_equal(unpermute(permuted, size, key), np.arange(size))


@given(sizes, st.integers(0, 99), st.integers(0, 99), blocks)
def test_an_epoch_holds_each_sample_once(
    shard_sizes: list[int], seed: int, epoch: int, block: Block
) -> None:
    order = EpochOrder(Sizes.of(shard_sizes), seed, epoch, block)
    everything = order.at(np.arange(len(order)))
    assert sorted(everything) == [(s, i) for s, size in enumerate(shard_sizes) for i in range(size)]


@given(sizes, blocks, st.data())
def test_any_position_alone_gives_what_the_whole_gives(
    shard_sizes: list[int], block: Block, data: st.DataObject
) -> None:
    order = EpochOrder(Sizes.of(shard_sizes), 1, 2, block)
    position = data.draw(st.integers(0, len(order) - 1))
    assert order.at(np.array([position]))[0] == order.at(np.arange(len(order)))[position]


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(EpochOrder(Sizes.of([50, 50]), seed, epoch).at(np.arange(100)))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_a_block_touches_only_its_shards() -> None:
    order = EpochOrder(Sizes.of([10] * 12), 3, 0, 3)
    for start in range(0, 120, 30):
        assert len({shard for shard, _ in order.at(np.arange(start, start + 30))}) == 3


def test_the_order_is_that_of_arrays_over_shards() -> None:
    """The same order, written down as arrays of all shards and samples."""
    cases: list[tuple[list[int], Block]] = [
        ([7] * 5 + [3], 2),
        ([4, 9, 1, 4, 4], 3),
        ([5] * 4, "all"),
        ([1, 2, 3], "all"),
    ]
    for shard_sizes, block in cases:
        key = seed_for("order", 8, 1)
        shards = permute(
            np.arange(len(shard_sizes)), len(shard_sizes), seed_for(key, "shards")
        ).tolist()
        size = len(shards) if block == "all" else block
        expected = []
        for number, start in enumerate(range(0, len(shards), size)):
            samples = [
                (shard, i)
                for shard in shards[start : start + size]
                for i in range(shard_sizes[shard])
            ]
            inside = permute(np.arange(len(samples)), len(samples), seed_for(key, number))
            expected += [samples[i] for i in inside.tolist()]
        assert (
            EpochOrder(Sizes.of(shard_sizes), 8, 1, block).at(np.arange(sum(shard_sizes)))
            == expected
        )


def test_the_order_has_not_changed() -> None:
    order = EpochOrder(Sizes.of([50, 50, 50, 10]), seed=3, epoch=2, block=2)
    assert order.at(np.arange(0, 160, 20)) == GOLDEN


@given(sizes, blocks)
def test_blocks_are_where_their_positions_are(shard_sizes: list[int], block: Block) -> None:
    order, positions = EpochOrder(Sizes.of(shard_sizes), 4, 0, block), np.arange(sum(shard_sizes))
    touched: dict[int, set[int]] = {number: set() for number in range(order.blocks)}
    for position, (shard, _) in zip(positions.tolist(), order.at(positions), strict=True):
        touched[order.block_at(position)].add(shard)
    assert touched == {number: set(order.shards_of(number)) for number in range(order.blocks)}


def peak_of(shards: int, block: Block) -> int:
    """Return the peak bytes of an order over `shards` shards with a short last one, and of what it
    answers.
    """
    tracemalloc.start()
    order = EpochOrder(Sizes(shards, 1000, np.array([shards - 1]), np.array([7])), 0, 0, block)
    places = order.at(np.arange(len(order) - 128, len(order)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(places)) == 128
    assert all(
        0 <= shard < shards and 0 <= index < (7 if shard == shards - 1 else 1000)
        for shard, index in places
    )
    return peak


@pytest.mark.parametrize("block", [16, "all"])
def test_memory_is_the_same_at_a_million_and_at_a_trillion_samples(block: Block) -> None:
    peaks = [peak_of(shards, block) for shards in (10**3, 10**6, 10**9)]
    assert max(peaks) < 200_000  # bytes, a micro-batch's places among them


def test_the_table_of_shards_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    by_table = EpochOrder(Sizes.of([3] * 9), 1, 1, 2).at(np.arange(27))
    monkeypatch.setattr("pipeline.loading.order.TABLE", 0)
    assert EpochOrder(Sizes.of([3] * 9), 1, 1, 2).at(np.arange(27)) == by_table


def test_positions_look_uncorrelated() -> None:
    """Neighbours in the order are not neighbours in the shards: the mean jump is that of random
    pairs, n/3.
    """
    flat = np.array(
        [s * 1000 + i for s, i in EpochOrder(Sizes.of([1000] * 10), 5, 0).at(np.arange(10_000))]
    )
    assert abs(np.abs(np.diff(flat)).mean() - 10_000 / 3) < 150
