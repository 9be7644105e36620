"""The data of a rehearsal: a few drawn images of each data set, in shards as training reads
them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.datasets import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Shard
from pipeline.params.data import Synthetic
from pipeline.shards.build import build
from pipeline.shards.task import Done, ShardWork, write

NUMBERS = {
    "imagenet": Synthetic(train=16, val=4, image_size=256),
    "coco": Synthetic(train=4, val=1, image_size=480),
    "ade20k": Synthetic(train=4, val=1, image_size=512),
}
WIDTH = 800
"""Pixels of COCO's stand-ins, 480 high: as wide as the recipe's largest training images, 800 x
1333.
"""


def shards_of(dataset: str, params: Shard, scratch: Path) -> Path:
    """Draw a data set below `scratch`, write its shards there, and return their folder."""
    raw, shards = scratch / "raw" / dataset, scratch / "shards" / dataset
    materialise(dataset, NUMBERS[dataset], raw)
    if dataset == "coco":
        _widen(raw)
    listing = list_folder(dataset, raw, {})
    build(dataset, listing, params, shards, listing.digest(), run=_here)
    return shards


def _here(works: Sequence[ShardWork], in_flight: int | None, label: str) -> list[Done]:
    """Write the shards in this process."""
    return [write(work) for work in works]


def _widen(raw: Path) -> None:
    """Give COCO's square stand-ins a photograph's shape: their right side goes on as its mirror
    image.
    """
    for split in ("train", "val"):
        path = raw / "annotations" / f"instances_{split}2017.json"
        content = json.loads(path.read_text())
        for entry in content["images"]:
            file = raw / f"{split}2017" / entry["file_name"]
            pixels = np.asarray(Image.open(file))
            wide = np.concatenate([pixels, pixels[:, ::-1]], axis=1)[:, :WIDTH]
            Image.fromarray(wide).save(file, quality=95)
            entry["width"] = WIDTH
        path.write_text(json.dumps(content))
