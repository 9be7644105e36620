"""Sizes answer as a list of all of them would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loading.sizes import Sizes

# Mostly one size, as shards are cut, and any sizes at all.
rows = st.one_of(
    st.lists(st.sampled_from([6, 6, 6, 6, 1, 9]), min_size=1, max_size=30),
    st.lists(st.integers(1, 20), min_size=1),
)


@given(rows)
def test_sizes_answer_as_a_list_would(row: list[int]) -> None:
    sizes, places = (
        Sizes.of(row),
        [(shard, index) for shard, size in enumerate(row) for index in range(size)],
    )
    assert (sizes.count, sizes.total) == (len(row), sum(row))
    assert sizes.starts(np.arange(len(row) + 1)).tolist() == [
        sum(row[:shard]) for shard in range(len(row) + 1)
    ]
    shards, indices = sizes.find(np.arange(sizes.total))
    assert list(zip(shards.tolist(), indices.tolist(), strict=True)) == places


@given(rows, st.randoms())
def test_renumbered_sizes_move_with_their_shards(row: list[int], random: object) -> None:
    number = list(range(len(row)))
    random.shuffle(number)  # type: ignore[attr-defined]
    moved = [row[number.index(place)] for place in range(len(row))]
    sizes = Sizes.of(row)
    after = sizes.renumbered(np.array(number)[sizes.odd])
    assert (
        after.starts(np.arange(len(row) + 1)).tolist()
        == Sizes.of(moved).starts(np.arange(len(row) + 1)).tolist()
    )


def test_equal_shards_need_no_array() -> None:
    sizes = Sizes.of([1000] * 500 + [3])
    assert (sizes.usual, sizes.odd.tolist(), sizes.odd_sizes.tolist()) == (1000, [500], [3])
