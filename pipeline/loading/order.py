"""Which sample stands at which position of an epoch.

A pure function of (seed, epoch, shard sizes, shuffle block) that can be asked at any position:
nothing is drawn in sequence, so nothing has to be replayed to resume, and there is no array of all
samples nor, where shards are of equal size, of all shards.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.randomness import seed_for
from pipeline.loading.sizes import Int, Sizes

Word = NDArray[np.uint64]
ROUNDS = 6
# up to so many shards their order is kept as a table (half a megabyte), which is quicker
TABLE = 1 << 16


def permute(positions: Int, size: int, key: int) -> Int:
    """Map positions of range(size) through the pseudo-random bijection that `key` chooses.

    A Feistel network on the smallest even number of bits that holds `size`; values that fall
    outside walk on through the network until they fall inside (cycle walking, fewer than four
    passes on average).
    """
    return _walk(positions, size, _round_keys(key), inverse=False)


def unpermute(positions: Int, size: int, key: int) -> Int:
    """Undo `permute` with the same size and key."""
    return _walk(positions, size, _round_keys(key)[::-1], inverse=True)


def _walk(positions: Int, size: int, keys: tuple[np.uint64, ...], inverse: bool) -> Int:
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    values = _feistel(positions.astype(np.uint64), half, keys, inverse)
    while (outside := values >= np.uint64(size)).any():
        values[outside] = _feistel(values[outside], half, keys, inverse)
    return values.astype(np.int64)


def _feistel(values: Word, half: np.uint64, keys: tuple[np.uint64, ...], inverse: bool) -> Word:
    """Run the network; its inverse is itself with the halves swapped before and after, and the keys
    reversed.
    """
    mask = (np.uint64(1) << half) - np.uint64(1)
    left = values >> half
    right = values & mask

    if inverse:
        left, right = right, left
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    if inverse:
        left, right = right, left

    return (left << half) | right


def _mix(x: Word) -> Word:
    """Scramble 64 bits (the finaliser of splitmix64); multiplication wraps by design."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=64)
def _round_keys(key: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(seed_for(key, i)) for i in range(ROUNDS))


class EpochOrder:
    """The order of one epoch.

    Shards are permuted and taken in blocks of `block` shards; samples are permuted within their
    block, so that a reader touches few shards at a time. `block="all"` permutes all samples
    together, for local disks.
    """

    def __init__(
        self, sizes: Sizes, seed: int, epoch: int, block: int | Literal["all"] = "all"
    ) -> None:
        self._key = seed_for("order", seed, epoch)
        self._shards_key = seed_for(self._key, "shards")
        # The shard that stands k-th in this epoch is permute(k); sizes are kept by k.
        self._sizes = sizes.renumbered(unpermute(sizes.odd, sizes.count, self._shards_key))
        self._block = sizes.count if block == "all" else min(block, sizes.count)
        everyone = np.arange(sizes.count if sizes.count <= TABLE else 0)
        self._table = permute(everyone, sizes.count, self._shards_key)

    def __len__(self) -> int:
        return self._sizes.total

    @property
    def blocks(self) -> int:
        """How many blocks the epoch has; the last one may be smaller."""
        return -(-self._sizes.count // self._block)

    def block_at(self, position: int) -> int:
        """Return the block that holds a position."""
        return int(self._sizes.find(np.array([position]))[0][0]) // self._block

    def shards_of(self, block: int) -> list[int]:
        """Return the shards of a block."""
        first = block * self._block
        shards: list[int] = self._shards(
            np.arange(first, min(first + self._block, self._sizes.count))
        ).tolist()
        return shards

    def at(self, positions: Int) -> list[tuple[int, int]]:
        """Return (shard, index within the shard) for each position of the epoch, 0 <= position <
        len.
        """
        blocks = self._sizes.find(positions)[0] // self._block
        flat = np.empty(len(positions), dtype=np.int64)

        for block in np.unique(blocks):
            ends = np.array([block, block + 1]) * self._block
            start, end = self._sizes.starts(np.minimum(ends, self._sizes.count)).tolist()
            inside = blocks == block
            flat[inside] = start + permute(
                positions[inside] - start, end - start, seed_for(self._key, int(block))
            )

        places, indices = self._sizes.find(flat)
        return list(zip(self._shards(places).tolist(), indices.tolist(), strict=True))

    def _shards(self, places: Int) -> Int:
        return (
            self._table[places]
            if len(self._table)
            else permute(places, self._sizes.count, self._shards_key)
        )
