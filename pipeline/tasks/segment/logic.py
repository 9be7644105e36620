"""Semantic segmentation: UPerNet on any backbone (paper, section 4.4)."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from models.heads import UPerNetSettings, create_segmenter, segmentation_loss
from pipeline.loading.randomness import seed_for
from pipeline.loading.sampling import Batch, Sampling
from pipeline.params import Variant
from pipeline.pictures import segmentation, sheet
from pipeline.shards.manifest import Manifest
from pipeline.tasks.dense import network
from pipeline.tasks.segment.miou import MeanIoU
from pipeline.tasks.segment.recipe import SegmentRecipe
from pipeline.tasks.segment.sampling import SegmentSampling

CLASSES_AT_ONCE = 16
VALUES_AT_ONCE = 2**28
"""Values of full-size maps that are held at a time: 1 GB."""


class Segmentation:
    """The segmentation task for one variant on one manifest."""

    main_metric = "miou"
    draw_count = 6
    eval_batch = 1  # as the authors: an image's result must not depend on how far others pad it

    def __init__(self, variant: Variant, recipe: SegmentRecipe, manifest: Manifest) -> None:
        self.variant = variant
        self.recipe = recipe
        self.names = [entry.name for entry in manifest.classes]
        self.sampling: Sampling = SegmentSampling(recipe)

    def build(self) -> nn.Module:
        """Return the segmenter with as many classes as the manifest has."""
        settings = UPerNetSettings(
            **self.recipe.upernet.model_dump(include=set(UPerNetSettings.__dataclass_fields__))
        )

        return network.build(
            create_segmenter,
            self.variant,
            self.recipe,
            self.recipe.augment.crop,
            num_classes=len(self.names),
            upernet=settings,
        )

    def load_given(self, model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
        """Load the backbone of a classifier; the rest stays fresh and is named."""
        return network.load_given(model, weights, self.variant)

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Move to the device and normalise the images, in evaluation those of every view."""
        if "views" in batch:
            return {**batch, "views": [self._normalised(view, device) for view in batch["views"]]}
        return {
            **self._normalised(batch, device),
            "labels": batch["labels"].to(device, non_blocking=True),
        }

    def _normalised(self, view: Batch, device: torch.device) -> Batch:
        images = network.prepare(view["images"], view["sizes"], device, self.recipe.channels_last)
        return {**view, "images": images}

    def loss(self, model: nn.Module, batch: Batch, seed: tuple[int, int, int]) -> Tensor:
        """Return the cross-entropy over all pixels, and that of the auxiliary head."""
        torch.manual_seed(seed_for("forward", *seed))  # drop path and dropout
        return segmentation_loss(
            model(batch["images"]), batch["labels"], self.recipe.upernet.auxiliary_weight
        )

    def predict(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """Return for each image the classes (H, W) int64 at the size of its original labels.

        Several views (scales, mirror images) are averaged as probabilities, as the authors' test
        does.
        """
        originals = [tuple(labels.shape) for labels in batch["labels"]]
        logits = [model(view["images"]).float() for view in batch["views"]]
        if len(logits) > 1:
            return [
                self._averaged(batch["views"], logits, i, size) for i, size in enumerate(originals)
            ]

        view = batch["views"][0]
        padded = tuple(view["images"].shape[2:])
        parts = zip(logits[0], view["sizes"], originals, strict=True)
        return [
            classes_at(image_logits, padded, valid, size) for image_logits, valid, size in parts
        ]

    def _averaged(
        self, views: list[Batch], logits: list[Tensor], index: int, original: Any
    ) -> Tensor:
        """Return the classes of one image by the mean of its views' probabilities."""
        total = torch.zeros(len(self.names), *original, device=logits[0].device)
        for view, maps in zip(views, logits, strict=True):
            full = at_original_size(
                maps[index], view["images"].shape[2:], view["sizes"][index], original
            )
            total += (full.flip(-1) if view["flipped"] else full).softmax(dim=0)
        return total.argmax(dim=0)

    def evaluator(self) -> MeanIoU:
        """Return an empty evaluator."""
        return MeanIoU(self.names)

    def draw(self, model: nn.Module, batch: Batch, raw: Batch) -> Image.Image:
        """Return a sheet of images, each with its labels beside what was predicted."""
        rows = zip(network.photographs(raw), raw["labels"], self.predict(model, batch), strict=True)

        tiles = [
            segmentation.draw(
                np.asarray(photograph), labels.numpy(), predicted.cpu().numpy(), self.names
            )
            for photograph, labels, predicted in rows
        ]

        return sheet.sheet(tiles, columns=2)


def at_original_size(logits: Tensor, padded: Any, valid: tuple[int, int], original: Any) -> Tensor:
    """Return logits (C, h, w) enlarged to the network's input and then resized to the original,
    both bilinear.
    """
    enlarged = F.interpolate(logits[None], size=tuple(padded), mode="bilinear")[
        ..., : valid[0], : valid[1]
    ]
    return F.interpolate(enlarged, size=tuple(original), mode="bilinear")[0]


def classes_at(logits: Tensor, padded: Any, valid: tuple[int, int], original: Any) -> Tensor:
    """Return the best class of each pixel of the original image, (H, W) int64.

    A few classes at a time, since 150 maps of a large photograph do not fit.
    """
    best = torch.full(original, -torch.inf, device=logits.device)
    classes = torch.zeros(original, dtype=torch.int64, device=logits.device)
    few = max(1, min(CLASSES_AT_ONCE, VALUES_AT_ONCE // best.numel()))

    for first in range(0, len(logits), few):
        scores = at_original_size(logits[first : first + few], padded, valid, original)
        highest, index = scores.max(dim=0)
        classes = torch.where(highest > best, index + first, classes)
        best = torch.maximum(highest, best)

    return classes
