"""Kaggle's labels of ImageNet's validation images: LOC_val_solution.csv, a name and its boxes a
line.
"""

import csv
import io

from pipeline.core.errors import UserError
from pipeline.datasets.listing import Listing
from pipeline.datasets.metadata import read_text

NAME = "LOC_val_solution.csv"
COLUMNS = ["ImageId", "PredictionString"]
BOX = 5
"""Words of a box in a prediction string: a class and four coordinates."""


def read(listing: Listing) -> dict[str, str]:
    """Return the class of each image by its name without extension.

    Raises:
        UserError: the columns are others, a line names no class or several, or an image is there
            twice.
    """
    where = listing.tree.where(NAME)
    try:
        header, *lines = list(csv.reader(io.StringIO(read_text(listing, NAME)))) or [[]]
    except csv.Error as error:
        raise UserError(f"{where} is not CSV: {error}") from None

    if [column.strip() for column in header] != COLUMNS:
        raise UserError(
            f"{where}: expected the columns {', '.join(COLUMNS)}; found {', '.join(header)[:80]!r}"
        )

    labels: dict[str, str] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue

        words = line[1].split() if len(line) == len(COLUMNS) else []
        classes = set(words[::BOX])
        if len(classes) != 1 or len(words) % BOX:
            raise UserError(
                f"{where}: line {number} should be an image and boxes of one class, found "
                f"{line!r:.80}"
            )
        if line[0] in labels:
            raise UserError(f"{where}: line {number} names {line[0]!r:.60} a second time")
        labels[line[0]] = classes.pop()

    return labels
