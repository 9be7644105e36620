"""The same image twice: in two classes, in training and validation, or under two records.

Reported, and kept.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.datasets.notes import Notes

SIZE = 16
NONE = bytes(SIZE)
"""Stands for a sample that is not in its shard."""


def fingerprint(data: bytes) -> bytes:
    """Return 16 bytes that tell files apart."""
    return hashlib.blake2b(data, digest_size=SIZE).digest()


def find(hashes: Sequence[bytes], samples: Sequence[tuple[str, str]], notes: Notes) -> None:
    """Count images whose first twin lies elsewhere, as `dup_hash`.

    Args:
        hashes: fingerprints of the samples of each shard, joined.
        samples: the image of each sample, and where it belongs: twins that belong to the same place
            are no matter.
        notes: takes the count and the first pairs.
    """
    words = np.frombuffer(b"".join(hashes), dtype="<u8").reshape(-1, 2)
    order = np.lexsort((words[:, 1], words[:, 0]))  # stable: twins stay in the order of the samples
    ordered = words[order]
    starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1), True])

    for begin in np.flatnonzero(np.diff(starts) > 1):
        first, *others = order[starts[begin] : starts[begin + 1]]
        if words[first].any():
            for other in others:
                image, place = samples[first]
                twin, elsewhere = samples[other]
                if place != elsewhere:
                    notes.add("dup_hash", f"{image} = {twin}")
