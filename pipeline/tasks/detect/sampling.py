"""Samples of detection: an image and its COCO record to an image with boxes, labels and masks."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.datasets.objects import why_unseen
from pipeline.loading.images import photograph
from pipeline.loading.randomness import generator
from pipeline.shards.manifest import ClassEntry
from pipeline.tasks.dense.geometry import Geometry, Size, corner, fitted, pixels, stacked
from pipeline.tasks.detect import masks
from pipeline.tasks.detect.recipe import DetectRecipe


class DetectSampling:
    """The published recipe: a flip, then one of two policies by a fair coin.

    Either a resize to a short side drawn from a list; or a resize to another one, a crop whose
    sides are drawn independently, and then that resize. A crop may lose every object (the recipe
    allows it), and images without any stay in the order, as background, where mmdet leaves them
    out: they are 0.9 % of COCO.

    `categories` has the category id of each label, `labels` the label of each category id.
    """

    libraries: tuple[str, ...] = ("torchvision.transforms.v2",)

    def __init__(self, recipe: DetectRecipe, classes: Sequence[ClassEntry]) -> None:
        self.recipe = recipe
        self.categories = [entry.id for entry in classes]
        self.labels = {category: label for label, category in enumerate(self.categories)}

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        """Decode and augment, as a function of (seed, epoch, sample)."""
        draw = generator("augment", seed, epoch, raw["__key__"])
        image = pixels(photograph(raw))
        geometry = self._geometry((image.shape[1], image.shape[2]), draw)

        return {
            "key": raw["__key__"],
            "image": geometry.image(image),
            "target": self._target(json.loads(raw["json"])["annotations"], geometry),
        }

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Decode and resize; the record stays as it is, in the pixels of the original."""
        image = pixels(photograph(raw))
        size = image.shape[1], image.shape[2]
        geometry = Geometry(*size)
        geometry.resize(fitted(size, self.recipe.cascade.test_sides))

        return {
            "key": raw["__key__"],
            "image": geometry.image(image),
            "record": json.loads(raw["json"]),
        }

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Put samples into one batch.

        Returns:
            `keys`; `images` (B, 3, H, W) uint8, zero outside of each image's own part, H and W
            multiples of `pad_to`; `sizes`, (height, width) of those parts. For training `targets`,
            for each image: `boxes` (N, 4) float32 of left, top, right, bottom in pixels, `labels`
            (N,) int64, `masks` (N, H, W) uint8 of 0 and 1, `masked` (N,) bool, false where an
            object has a box alone; for evaluation `records`, the COCO record of each image.
        """
        images, sizes = stacked([sample["image"] for sample in samples], self.recipe.augment.pad_to)
        batch = {"keys": [sample["key"] for sample in samples], "images": images, "sizes": sizes}
        if "record" in samples[0]:
            return {**batch, "records": [sample["record"] for sample in samples]}

        height, width = images.shape[2:]
        return {
            **batch,
            "targets": [_whole(sample["target"], (height, width)) for sample in samples],
        }

    def _geometry(self, size: Size, draw: np.random.Generator) -> Geometry:
        """Draw the steps of a training sample."""
        augment = self.recipe.augment
        geometry = Geometry(*size)

        def resize(short_sides: Sequence[int]) -> None:
            short = short_sides[int(draw.integers(len(short_sides)))]
            geometry.resize(fitted(geometry.size, (short, augment.long_side)))

        if draw.random() < augment.flip:
            geometry.flip()
        if draw.random() < 0.5:
            resize(augment.crop_short_sides)
            low, high = augment.crop
            height, width = (
                int(draw.integers(min(low, side), min(high, side) + 1)) for side in geometry.size
            )
            geometry.crop(*corner(geometry.size, (height, width), draw), (height, width))

        resize(augment.short_sides)
        return geometry

    def _target(self, annotations: list[dict[str, Any]], geometry: Geometry) -> dict[str, Any]:
        """Return boxes, labels and mask patches of the objects that are still there after all
        steps.
        """
        objects = [row for row in annotations if why_unseen(row) is None]
        corners = torch.tensor([row["bbox"] for row in objects], dtype=torch.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        boxes = geometry.boxes(corners)

        visible = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        kept = [row for row, stays in zip(objects, visible.tolist(), strict=True) if stays]

        return {
            "boxes": boxes[visible],
            "labels": torch.tensor(
                [self.labels[row["category_id"]] for row in kept], dtype=torch.int64
            ),
            "masked": torch.tensor([bool(row["segmentation"]) for row in kept], dtype=torch.bool),
            "patches": [masks.patch_of(row["segmentation"], geometry) for row in kept],
        }


def _whole(target: dict[str, Any], size: Size) -> dict[str, Tensor]:
    """Return a target with its masks at the size of the batch."""
    patches = target["patches"]
    stack = torch.zeros(len(patches), *size, dtype=torch.uint8)
    for mask, patch in zip(stack.numpy(), patches, strict=True):
        patch.paste(mask)

    return {**{name: target[name] for name in ("boxes", "labels", "masked")}, "masks": stack}
