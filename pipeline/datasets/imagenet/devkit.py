"""ImageNet's development kit: which class each number of the ground truth means, and what classes
are called.

The numbers, ILSVRC2012_ID, follow no order of the synsets; meta.mat alone says which is which.
"""

import io
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.errors import UserError
from pipeline.datasets.listing import Listing
from pipeline.datasets.metadata import read_bytes, read_text
from pipeline.datasets.notes import brief

FOLDER = "ILSVRC2012_devkit_t12"
TRUTH = f"{FOLDER}/data/ILSVRC2012_validation_ground_truth.txt"
META = f"{FOLDER}/data/meta.mat"
FIELDS = ("ILSVRC2012_ID", "WNID", "words")


class Synset(NamedTuple):
    """A class: its folder's name, and its name for people."""

    wnid: str
    words: str


def read_synsets(listing: Listing) -> dict[int, Synset]:
    """Return the classes by ILSVRC2012_ID.

    Raises:
        UserError: meta.mat is missing or is not the official table.
    """
    where = listing.tree.where(META)
    if META not in listing.tree.files:
        raise UserError(
            f"{where} is missing, which says which class a number of the ground truth means; put "
            f"{FOLDER}/ (or its "
            "archive) there whole"
        )

    try:
        rows = [_row(row) for row in _table(read_bytes(listing, META))]
    except ValueError as error:
        raise UserError(
            f"{where} is not the table of ILSVRC2012: {error}; unpack {FOLDER}.tar.gz again"
        ) from None

    synsets = dict(rows)
    times = Counter([name for number, synset in rows for name in (str(number), synset.wnid)])
    if repeated := [name for name, count in times.items() if count > 1]:
        raise UserError(f"{where}: an ILSVRC2012_ID or a WNID is there twice: {brief(repeated)}")
    return synsets


def read_labels(listing: Listing, synsets: Mapping[int, Synset]) -> list[str]:
    """Return the WNID of validation image 1, 2, 3 and so on.

    Raises:
        UserError: a line is not the number of a class.
    """
    labels = []
    for number, line in enumerate(read_text(listing, TRUTH).split(), start=1):
        if not line.isascii() or not line.isdigit() or int(line) not in synsets:
            where = listing.tree.where(TRUTH)
            raise UserError(
                f"{where}: line {number} should be an ILSVRC2012_ID of meta.mat, found "
                f"{line[:40]!r}"
            )
        labels.append(synsets[int(line)].wnid)

    return labels


def _table(data: bytes) -> Any:
    """Return the struct array `synsets`; raises ValueError where there is none."""
    from scipy.io import loadmat

    try:
        table = loadmat(io.BytesIO(data), variable_names=["synsets"], squeeze_me=True).get(
            "synsets"
        )
    except Exception as error:  # the reader of MATLAB's format fails in many ways on what is none
        raise ValueError(f"unreadable: {error}") from None

    lacking = [
        name
        for name in FIELDS
        if name not in (getattr(getattr(table, "dtype", None), "names", None) or ())
    ]
    if lacking:
        raise ValueError(f"no array 'synsets' with {', '.join(lacking)}")
    return np.atleast_1d(table)


def _row(row: Any) -> tuple[int, Synset]:
    """Return one class, after checking that its fields are a number and two texts and nothing
    else.
    """
    number, wnid, words = (row[name] for name in FIELDS)

    if isinstance(number, np.ndarray | np.generic) and number.size == 1:
        number = number.item()
    if not isinstance(number, int | float) or number != int(number) or number < 1:
        raise ValueError(f"an ILSVRC2012_ID is {number!r:.60}")
    if not isinstance(wnid, str) or not re.fullmatch(r"n\d{8}", wnid):
        raise ValueError(f"the WNID of {int(number)} is {wnid!r:.60}")
    if not isinstance(words, str):
        raise ValueError(f"the words of {wnid} are {words!r:.60}")

    return int(number), Synset(wnid, words.strip())
