"""What data sets make of a sample's target, and the account of it: every object and label ends in
one bucket.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.datasets.coco.objects import CROWD
from pipeline.datasets.notes import Notes

NO_MASK = "no_mask"
UNLABELLED = "unlabelled"
REFUSED_IMAGE = "image_quarantined"
NO_LOSS = frozenset({CROWD, NO_MASK, UNLABELLED, REFUSED_IMAGE})
"""Reasons that are no fault of an annotation; quarantined files have a limit of their own."""


@dataclass
class Tally:
    """How many objects (COCO) or pixels (ADE20K) were listed, and what became of them, by reason.

    `listed` is the sum of `seen` (training uses them, an evaluation judges by them), `judging_only`
    (in the shards, for evaluation alone) and `dropped`. `without_mask` counts those of the first
    two that have a box alone.
    """

    listed: int = 0
    seen: int = 0
    judging_only: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    without_mask: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count what another tally counted."""
        self.listed += other.listed
        self.seen += other.seen
        for name in ("judging_only", "dropped", "without_mask"):
            getattr(self, name).update(getattr(other, name))

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what is in no shard."""
        self.listed += count
        if count:
            self.dropped[reason] += count

    @property
    def lost(self) -> dict[str, int]:
        """What a fault of theirs keeps from training, or keeps from having a mask, by reason."""
        lost = self.judging_only + self.dropped + self.without_mask
        return {reason: count for reason, count in lost.most_common() if reason not in NO_LOSS}

    def record(self) -> dict[str, Any]:
        """Return the same as a JSON value."""
        return {
            name: dict(value) if isinstance(value, Counter) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Tally":
        """Return what `record` was made from."""
        counters = {
            name: Counter(record[name]) for name in ("judging_only", "dropped", "without_mask")
        }
        return cls(record["listed"], record["seen"], **counters)

    @classmethod
    def sum(cls, tallies: Iterable["Tally"]) -> "Tally":
        """Return the sum of some tallies."""
        total = cls()
        for tally in tallies:
            total.add(tally)
        return total


class Target(NamedTuple):
    """The bytes of a target's member, the indices of the classes in it, and what is to be counted
    and noted of it.
    """

    data: bytes
    classes: list[int]
    tally: Tally = Tally()
    notes: Notes = Notes()
