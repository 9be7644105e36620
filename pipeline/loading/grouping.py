"""Portrait and landscape images of a step in micro-batches of their own, so that a batch is mostly
image, not padding.

The samples of a step stay the same ones; only which micro-batch each is in depends on shapes.
Shapes come from the records in the shards, no image is decoded; every rank reads them all and finds
the same.
"""

import json

from pipeline.shards.reader import ShardReader

Place = tuple[int, int]


def by_shape(reader: ShardReader, places: list[Place]) -> list[Place]:
    """Return the places of a step with upright and square images before wide ones, otherwise as
    they were.
    """
    return sorted(places, key=lambda place: is_wide(reader.target(*place)))


def is_wide(record: bytes) -> bool:
    """Say whether a COCO record is of an image wider than high."""
    fields = json.loads(record)
    return bool(fields["width"] > fields["height"])
