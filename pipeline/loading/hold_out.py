"""The parts of a data set that a run sees: a split, or the two parts that the training split is
divided into.

Held out is a share of every shard, chosen by a permutation that depends on the shard alone: every
run, whatever its seed, holds out the same samples, and reads as few shards as before.
"""

from pathlib import Path

import numpy as np

from pipeline.core.errors import UserError
from pipeline.loading.order import permute
from pipeline.loading.randomness import seed_for
from pipeline.shards.reader import ShardReader
from pipeline.shards.remote.cache import ShardCache

TRAIN = "train"
HELD_OUT = "held_out"


def open_split(
    folder: Path | str, part: str, hold_out: float, cache: ShardCache | None = None
) -> ShardReader:
    """Return a reader of `val`, of `train` without what is held out, or of `held_out`.

    Raises:
        UserError: nothing would be held out, or nothing left; and as `ShardReader`.
    """
    if part not in (TRAIN, HELD_OUT) or not hold_out:
        return ShardReader(folder, part, cache)
    return PartReader(folder, hold_out, part == HELD_OUT, cache)


class PartReader(ShardReader):
    """What is held out of the training split, or what is left of it; samples are numbered within
    their part.
    """

    def __init__(
        self, folder: Path | str, hold_out: float, held: bool, cache: ShardCache | None = None
    ) -> None:
        """Open a part.

        Args:
            folder: as for `ShardReader`.
            hold_out: the share of each shard that is held out, above 0 and below 1; of two samples
                at least one.
            held: whether this is the part held out.
            cache: as for `ShardReader`.

        Raises:
            UserError: the part is empty; and as `ShardReader`.
        """
        super().__init__(folder, TRAIN, cache)
        self._held = held
        self._whole = self.shard_sizes
        self._shares = [min(max(1, round(size * hold_out)), size - 1) for size in self._whole]
        pairs = zip(self._whole, self._shares, strict=True)
        self.shard_sizes = [share if held else size - share for size, share in pairs]
        self._count = sum(self.shard_sizes)

        if not self._count:
            raise UserError(
                f"{self.folder}: every shard has a single sample, so nothing can be held out "
                "of them"
            )

    def __len__(self) -> int:
        """Return the number of samples in the part."""
        return self._count

    def _place(self, shard: int, index: int) -> int:
        """Return the place of a sample in its shard: the first of the permuted samples are held
        out.
        """
        numbered = index if self._held else index + self._shares[shard]
        return int(
            permute(np.array([numbered]), self._whole[shard], seed_for("hold out", shard))[0]
        )
