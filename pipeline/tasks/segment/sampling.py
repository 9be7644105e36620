"""Samples of semantic segmentation: an image and its mask to an image and its label map."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.loading.images import photograph
from pipeline.loading.randomness import generator
from pipeline.tasks.dense.geometry import (
    Geometry,
    Mask,
    Size,
    corner,
    fitted,
    pick,
    pixels,
    stacked,
)
from pipeline.tasks.segment.photometric import distort
from pipeline.tasks.segment.recipe import SegmentRecipe

IGNORE = 255
CROPS = 10  # that are tried for one in which no class fills too much


class SegmentSampling:
    """The published recipe: rescale, crop, flip, photometric distortion; labels count from 0, 255
    is ignored.
    """

    libraries: tuple[str, ...] = ("torchvision.transforms.v2",)

    def __init__(self, recipe: SegmentRecipe) -> None:
        self.recipe = recipe

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        """Decode and augment, as a function of (seed, epoch, sample)."""
        draw = generator("augment", seed, epoch, raw["__key__"])
        augment = self.recipe.augment
        image = pixels(photograph(raw))
        labels = read_labels(raw["png"])

        geometry = self._geometry(labels, draw)
        image = geometry.image(image)
        if augment.photometric:
            distorted = distort(Image.fromarray(image.permute(1, 2, 0).numpy()), draw)
            image = torch.from_numpy(np.array(distorted)).permute(2, 0, 1)

        return {"key": raw["__key__"], "image": image, "labels": geometry.mask(labels)}

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Decode and resize to each of `test_scales`, mirrored too with `test_flip`; labels keep
        their size.
        """
        image = pixels(photograph(raw))
        return {
            "key": raw["__key__"],
            "views": self.views(image),
            "labels": read_labels(raw["png"]),
        }

    def views(self, image: Tensor) -> list[tuple[Tensor, bool]]:
        """Return what evaluation averages over: an image (3, H, W) at each scale, and whether it is
        mirrored.
        """
        head = self.recipe.upernet

        views = []
        for scale in head.test_scales:
            for flipped in (False, True)[: 1 + head.test_flip]:
                geometry = Geometry(image.shape[1], image.shape[2])
                geometry.resize(fitted(geometry.size, _scaled(head.test_sides, scale)))
                if flipped:
                    geometry.flip()
                views.append((geometry.image(image), flipped))

        return views

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Put samples into one batch.

        Returns:
            `keys`; `images` (B, 3, H, W) uint8, zero outside of each image's own part; `sizes`,
            (height, width) of those parts. For training `labels` (B, H, W) int64, 255 outside, H
            and W those of the crop. For evaluation `labels`, a list of (H, W) uint8 at the size of
            the original, and `views`, a list with one mapping for each scale and mirroring:
            `images` and `sizes` as above, `flipped`; the batch's own are those of the first.
        """
        keys = [sample["key"] for sample in samples]
        if "views" in samples[0]:
            views = [
                _view(list(same))
                for same in zip(*(sample["views"] for sample in samples), strict=True)
            ]
            labels = [torch.from_numpy(sample["labels"]) for sample in samples]
            return {"keys": keys, **views[0], "labels": labels, "views": views}

        crop = self.recipe.augment.crop
        images, sizes = stacked([sample["image"] for sample in samples], least=crop)
        padded = torch.full((len(samples), *crop), IGNORE, dtype=torch.int64)
        for row, sample, (height, width) in zip(padded, samples, sizes, strict=True):
            row[:height, :width] = torch.from_numpy(sample["labels"])

        return {"keys": keys, "images": images, "sizes": sizes, "labels": padded}

    def _geometry(self, labels: Mask, draw: np.random.Generator) -> Geometry:
        """Draw the steps of a training sample."""
        augment = self.recipe.augment
        geometry = Geometry(*labels.shape)
        geometry.resize(
            fitted(geometry.size, _scaled(augment.resize, draw.uniform(*augment.ratio)))
        )

        size = min(geometry.size[0], augment.crop[0]), min(geometry.size[1], augment.crop[1])
        tries = CROPS if augment.category_ratio < 1 else 0
        for _ in range(1 + tries):
            top, left = corner(geometry.size, size, draw)
            rows = geometry.rows[top : top + size[0]]
            columns = geometry.columns[left : left + size[1]]
            if is_varied(pick(labels, rows, columns), augment.category_ratio):
                break

        geometry.crop(top, left, size)
        if draw.random() < augment.flip:
            geometry.flip()
        return geometry


def read_labels(data: bytes) -> Mask:
    """Decode an index mask (H, W): value v becomes class v - 1, and 0, which nobody labelled,
    255.
    """
    with Image.open(io.BytesIO(data)) as mask:
        return np.asarray(mask) - np.uint8(1)  # 0 - 1 is 255


def is_varied(labels: Mask, ratio: float) -> bool:
    """Say whether there are several classes, and the largest fills less than `ratio` of what is
    labelled.
    """
    filled = sorted(filter(None, Image.fromarray(labels).histogram()[:IGNORE]))
    return len(filled) > 1 and filled[-1] < ratio * sum(filled)


def _scaled(sides: tuple[int, int], scale: float) -> Size:
    return max(1, int(sides[0] * scale)), max(1, int(sides[1] * scale))


def _view(same: list[tuple[Tensor, bool]]) -> dict[str, Any]:
    images, sizes = stacked([image for image, _ in same])
    return {"images": images, "sizes": sizes, "flipped": same[0][1]}
