"""Which sample stands at which position of an epoch.

A pure function of (seed, epoch, shard sizes, shuffle block) that can be asked at any position: nothing is drawn in
sequence, so nothing has to be replayed to resume, and no array of all samples exists.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.randomness import seed_for

Int = NDArray[np.int64]
Word = NDArray[np.uint64]
ROUNDS = 6


def permute(positions: Int, size: int, key: int) -> Int:
    """Map positions of range(size) through the pseudo-random bijection that `key` chooses.

    A Feistel network on the smallest even number of bits that holds `size`; values that fall outside walk on
    through the network until they fall inside (cycle walking, fewer than four passes on average).
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    keys = [np.uint64(seed_for(key, i)) for i in range(ROUNDS)]
    values = positions.astype(np.uint64)
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        values[outside] = _feistel(values[outside], half, keys)
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def _feistel(values: Word, half: np.uint64, keys: list[np.uint64]) -> Word:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _mix(x: Word) -> Word:
    """Scramble 64 bits (the finaliser of splitmix64); multiplication wraps by design."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class EpochOrder:
    """The order of one epoch.

    Shards are permuted and taken in blocks of `block` shards; samples are permuted within their block, so that a
    reader touches few shards at a time. `block="all"` permutes all samples together, for local disks.
    """

    def __init__(self, shard_sizes: list[int], seed: int, epoch: int, block: int | Literal["all"] = "all") -> None:
        count = len(shard_sizes)
        self._key = seed_for("order", seed, epoch)
        self._shards = permute(np.arange(count), count, seed_for(self._key, "shards"))
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(shard_sizes, dtype=np.int64)[self._shards])])
        self._block = count if block == "all" else min(block, count)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def at(self, positions: Int) -> list[tuple[int, int]]:
        """Return (shard, index within the shard) for each position of the epoch, 0 <= position < len."""
        block_starts = self._starts[:: self._block]
        blocks = np.searchsorted(block_starts, positions, side="right") - 1
        flat = np.empty(len(positions), dtype=np.int64)
        for block in np.unique(blocks):
            start = self._starts[block * self._block]
            end = self._starts[min((block + 1) * self._block, len(self._shards))]
            inside = blocks == block
            flat[inside] = start + permute(positions[inside] - start, int(end - start), seed_for(self._key, int(block)))
        places = np.searchsorted(self._starts, flat, side="right") - 1
        return [(int(self._shards[p]), int(f - self._starts[p])) for p, f in zip(places, flat, strict=True)]
