"""How many samples each shard holds, in as little memory as the truth allows: one usual size, and
the exceptions.

Shards are cut to one size; the last one is shorter, and so are those that lost a file. So a million
shards are three numbers and a few exceptions; only where every shard has a size of its own are
there arrays over shards.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


class Sizes:
    """The sizes of `count` shards in a row, and from them: which shard holds the sample at a
    position.
    """

    def __init__(
        self, count: int, usual: int, odd: Int | None = None, odd_sizes: Int | None = None
    ) -> None:
        """Describe shards of `usual` samples each, except for those numbered `odd` (ascending).

        Args:
            count: how many shards there are.
            usual: samples of a usual shard, at least 1.
            odd: numbers of the shards that have another size, in ascending order.
            odd_sizes: samples of those shards.
        """
        self.count = count
        self.usual = usual
        self.odd = np.zeros(0, dtype=np.int64) if odd is None else odd
        self.odd_sizes = np.zeros(0, dtype=np.int64) if odd_sizes is None else odd_sizes

        self._excess = np.concatenate([[0], np.cumsum(self.odd_sizes - usual)])
        self._odd_starts = self.odd * usual + self._excess[:-1]

        # Usual shards follow the beginning and each odd shard: the first one's number, and the
        # position it starts at.
        self._next = np.concatenate([[0], self.odd + 1])
        self._next_starts = np.concatenate([[0], self._odd_starts + self.odd_sizes])

    @classmethod
    def of(cls, sizes: Sequence[int]) -> "Sizes":
        """Describe shards whose sizes are listed, at least one."""
        array = np.asarray(sizes, dtype=np.int64)
        values, times = np.unique(array, return_counts=True)
        usual = int(values[np.argmax(times)])
        odd = np.flatnonzero(array != usual)
        return cls(len(array), usual, odd, array[odd])

    @property
    def total(self) -> int:
        """Samples in all shards."""
        return self.count * self.usual + int(self._excess[-1])

    def starts(self, shards: Int) -> Int:
        """Return how many samples come before each shard; `count` is the number after the last
        one's.
        """
        before: Int = shards * self.usual + self._excess[np.searchsorted(self.odd, shards)]
        return before

    def find(self, positions: Int) -> tuple[Int, Int]:
        """Return the shard of each position, 0 <= position < total, and the sample's index within
        the shard.
        """
        run = np.searchsorted(self._odd_starts, positions, side="right")
        # Before its run's first usual shard lies the odd one that began the run, however large.
        shards = self._next[run] + np.maximum(
            (positions - self._next_starts[run]) // self.usual, -1
        )
        return shards, positions - self.starts(shards)

    def renumbered(self, odd: Int) -> "Sizes":
        """Return the sizes of the same shards in another order, in which the odd ones have the
        numbers `odd`.
        """
        order = np.argsort(odd)
        return Sizes(self.count, self.usual, odd[order], self.odd_sizes[order])
