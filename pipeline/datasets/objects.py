"""Which annotations training sees; the account of a split and the loading of samples ask the same
question.
"""

from collections.abc import Mapping
from typing import Any

CROWD = "crowd"
DEGENERATE = "degenerate_box"
NEGATIVE = "negative_box"
FRACTIONS = "looks_like_fractions"
SMALL = "below_a_pixel"
NO_AREA = "no_area"


def why_unseen(annotation: Mapping[str, Any]) -> str | None:
    """Return why training passes over an annotation of the shards, or None for an object that it
    sees.

    As in mmdetection, training sees what is no crowd, at least a pixel wide and high, and has an
    area. An evaluation reads all of them.
    """
    left, top, width, height = annotation["bbox"]
    if min(width, height) <= 0:
        return NEGATIVE if min(width, height) < 0 else DEGENERATE
    if annotation["iscrowd"]:
        return CROWD
    if min(width, height) < 1:
        return FRACTIONS if min(left, top) >= 0 and max(left + width, top + height) <= 1 else SMALL
    return None if annotation["area"] > 0 else NO_AREA
