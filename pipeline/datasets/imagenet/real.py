"""ImageNet-Real: labels that people gave the validation images anew, several an image or none.

real.json is a list of 50,000 lists of class indices; its i-th entry belongs to ILSVRC2012_val_<i,
counted from 1>. Images are found by that name, in whatever order or folder they lie.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.datasets.listing import Listing, Reassessed

NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})")


def attach(listing: Listing, path: Path, name: str) -> None:
    """Give the listing of the data set `name` the reassessed labels of its validation split.

    Raises:
        UserError: the file is not such a list, names a class that there is not, or lacks an image
            of the split.
    """
    try:
        data = path.read_bytes()
        entries = json.loads(data)
    except OSError as error:
        raise UserError(f"data.{name}.real_labels: cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"data.{name}.real_labels: {path} is not JSON: {error}") from None

    _check(entries, f"data.{name}.real_labels: {path}", len(listing.classes))

    labels = {}
    lacking = []
    for sample in listing.splits["val"]:
        match = NUMBERED.fullmatch(sample.key)
        if match is None or not 0 < int(match[1]) <= len(entries):
            lacking.append(sample.image)
        else:
            labels[sample.key] = sorted(set(entries[int(match[1]) - 1]))

    if lacking:
        raise UserError(
            f"data.{name}.real_labels: {path} has {len(entries)} entries and none for "
            f"{len(lacking)} of the "
            f"{len(listing.splits['val'])} validation images, the first {lacking[0]}"
        )

    listing.real = Reassessed(hashlib.sha256(data).hexdigest(), labels)


def _check(entries: Any, where: str, classes: int) -> None:
    """Stop unless the entries are lists of class indices."""
    if not isinstance(entries, list):
        raise UserError(f"{where} is not a list with an entry for each validation image")
    for number, entry in enumerate(entries, start=1):
        valid = isinstance(entry, list) and all(
            type(index) is int and 0 <= index < classes for index in entry
        )
        if not valid:
            raise UserError(
                f"{where}: entry {number} should be a list of class "
                "indices from 0 to "
                f"{classes - 1}, found {str(entry)[:60]}"
            )
