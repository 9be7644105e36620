"""The data of a rehearsal: a few drawn images of each data set, in shards as training reads
them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Shard
from pipeline.params.registry import datasets
from pipeline.shards.build import build
from pipeline.shards.task import Done, ShardWork, write


def shards_of(dataset: str, params: Shard, scratch: Path) -> Path:
    """Draw a data set below `scratch`, write its shards there, and return their folder."""
    raw = scratch / "raw" / dataset
    shards = scratch / "shards" / dataset
    about = datasets()[dataset]
    materialise(dataset, about.rehearsal, raw)
    if about.rehearsal_width is not None:
        _widen(raw, about.rehearsal_width)

    listing = list_folder(dataset, raw, {})
    build(dataset, listing, params, shards, listing.digest(), run=_here)
    return shards


def _here(works: Sequence[ShardWork], in_flight: int | None, label: str) -> list[Done]:
    """Write the shards in this process."""
    return [write(work) for work in works]


def _widen(raw: Path, width: int) -> None:
    """Give square synthetic images in COCO's layout a photograph's shape: their right side goes on
    as its mirror image.
    """
    for split in ("train", "val"):
        path = raw / "annotations" / f"instances_{split}2017.json"
        content = json.loads(path.read_text())
        for entry in content["images"]:
            file = raw / f"{split}2017" / entry["file_name"]
            pixels = np.asarray(Image.open(file))
            wide = np.concatenate([pixels, pixels[:, ::-1]], axis=1)[:, :width]
            Image.fromarray(wide).save(file, quality=95)
            entry["width"] = width
        path.write_text(json.dumps(content))
