"""The order is a bijection, a pure function of its inputs, and cheap at any position."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loading.order import EpochOrder, permute

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)
blocks = st.one_of(st.just("all"), st.integers(1, 14))


@given(st.integers(1, 3000), st.integers(0, 2**62))
def test_permute_is_a_bijection(size: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


@given(sizes, st.integers(0, 99), st.integers(0, 99), blocks)
def test_an_epoch_holds_each_sample_once(shard_sizes: list[int], seed: int, epoch: int, block: int) -> None:
    order = EpochOrder(shard_sizes, seed, epoch, block)
    everything = order.at(np.arange(len(order)))
    assert sorted(everything) == [(s, i) for s, size in enumerate(shard_sizes) for i in range(size)]


@given(sizes, blocks, st.data())
def test_any_position_alone_gives_what_the_whole_gives(shard_sizes: list[int], block: int, data: st.DataObject) -> None:
    order = EpochOrder(shard_sizes, 1, 2, block)
    position = data.draw(st.integers(0, len(order) - 1))
    assert order.at(np.array([position]))[0] == order.at(np.arange(len(order)))[position]


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(EpochOrder([50, 50], seed, epoch).at(np.arange(100))) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_a_block_touches_only_its_shards() -> None:
    order = EpochOrder([10] * 12, 3, 0, 3)
    for start in range(0, 120, 30):
        assert len({shard for shard, _ in order.at(np.arange(start, start + 30))}) == 3


@pytest.mark.parametrize("block", [8, "all"])
def test_position_in_a_billion_needs_no_array_of_samples(block: int) -> None:
    tracemalloc.start()
    order = EpochOrder([10_000] * 100_000, 0, 0, block)
    place = order.at(np.array([10**9 - 1]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 <= place[0][0] < 100_000 and 0 <= place[0][1] < 10_000
    assert peak < 30e6  # a few arrays over shards; an array over samples would be 8 GB


def test_positions_look_uncorrelated() -> None:
    """Neighbours in the order are not neighbours in the shards: the mean jump is that of random pairs, n/3."""
    flat = np.array([s * 1000 + i for s, i in EpochOrder([1000] * 10, 5, 0).at(np.arange(10_000))])
    assert abs(np.abs(np.diff(flat)).mean() - 10_000 / 3) < 150
