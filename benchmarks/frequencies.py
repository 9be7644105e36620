"""What a predictor reaches that knows only how frequent classes are, on the validation shards of
COCO and ADE20K.

It takes every pixel for the class that most pixels of the training split have; and it finds, in
every image, each class once over the whole image, the more frequent the surer. Prints one JSON line
a figure: what a trained network must beat.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import ShardReader
from pipeline.tasks.detect.coco import CocoEvaluator
from pipeline.tasks.segment.miou import MeanIoU
from pipeline.tasks.segment.sampling import IGNORE, read_labels

SHARDS = Path("data/shards")
FIGURES = {"box_ap", "box_ap50", "mask_ap", "miou", "pixel_accuracy"}


def samples(folder: Path, split: str) -> Iterator[Any]:
    reader = ShardReader(folder, split)
    for shard, size in enumerate(reader.shard_sizes):
        yield from (reader.read(shard, index) for index in range(size))


def pixels(folder: Path) -> dict[str, float]:
    names = [entry.name for entry in Manifest.load(folder).classes]
    counts = np.zeros(IGNORE + 1, dtype=np.int64)
    for sample in samples(folder, "train"):
        counts += np.bincount(read_labels(sample["png"]).ravel(), minlength=IGNORE + 1)
    usual, evaluator = int(counts[:IGNORE].argmax()), MeanIoU(names)
    for sample in samples(folder, "val"):
        labels = torch.from_numpy(read_labels(sample["png"]))
        evaluator.update([torch.full(labels.shape, usual)], {"labels": [labels]})
    return evaluator.result([evaluator.state()]).metrics


def objects(folder: Path) -> dict[str, float]:
    classes = Manifest.load(folder).classes
    index = {entry.id: label for label, entry in enumerate(classes)}
    records = (json.loads(sample["json"]) for sample in samples(folder, "train"))
    counts = Counter(
        index[row["category_id"]] for record in records for row in record["annotations"]
    )
    labels, evaluator = torch.tensor(sorted(counts)), CocoEvaluator(classes)
    scores = torch.tensor([counts[label] / sum(counts.values()) for label in labels.tolist()])
    for sample in samples(folder, "val"):
        record = json.loads(sample["json"])
        height, width = record["height"], record["width"]
        whole = coco_mask.encode(np.ones((height, width), dtype=np.uint8, order="F"))
        boxes = torch.tensor([[0.0, 0.0, width, height]]).repeat(len(labels), 1)
        found = {"boxes": boxes, "scores": scores, "labels": labels, "masks": [whole] * len(labels)}
        evaluator.update([found], {"records": [record]})
    return evaluator.result([evaluator.state()]).metrics


def main() -> None:
    for name, measure in (("coco", objects), ("ade20k", pixels)):
        folder = SHARDS / name
        if not (folder / "manifest.json").exists():
            raise SystemExit("no shards: run `make repro` first")
        found = measure(folder)
        for metric in sorted(FIGURES & found.keys()):
            print(
                json.dumps(
                    {
                        "figure": f"{name}: {metric} of class frequencies alone, %",
                        "value": found[metric],
                    }
                )
            )


if __name__ == "__main__":
    main()
