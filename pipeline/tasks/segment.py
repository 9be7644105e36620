"""Semantic segmentation: UPerNet on any backbone (paper, section 4.4)."""

from typing import Any

import torch
import torch.nn.functional as F
from models.heads import UPerNet, create_segmenter, segmentation_loss
from PIL import Image
from torch import Tensor, nn

from pipeline.evaluators.miou import MeanIoU
from pipeline.loading.randomness import seed_for
from pipeline.loading.segmentation import SegmentSampling
from pipeline.params import SegmentRecipe, Variant
from pipeline.shards.manifest import Manifest
from pipeline.tasks import Batch, Sampling, dense

CLASSES_AT_ONCE = 16


class Segment:
    """The segmentation task for one variant on one manifest."""

    main_metric = "miou"
    drawn = 6
    eval_batch = 1  # as the authors: an image's result must not depend on how far others pad it

    def __init__(self, variant: Variant, recipe: SegmentRecipe, manifest: Manifest) -> None:
        self.variant, self.recipe = variant, recipe
        self.names = [entry.name for entry in manifest.classes]
        self.sampling: Sampling = SegmentSampling(recipe)

    def build(self) -> nn.Module:
        """Return the segmenter with as many classes as the manifest has."""
        settings = UPerNet(**self.recipe.upernet.model_dump(include=UPerNet.__dataclass_fields__.keys()))
        return dense.build(create_segmenter, self.variant, self.recipe, num_classes=len(self.names), upernet=settings)

    def start_from(self, model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
        """Load the backbone of a classifier; the rest stays fresh and is named."""
        return dense.start_from(model, weights, self.variant)

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Move to the device and normalise the images."""
        images = dense.prepare(batch["images"], batch["sizes"], device, self.recipe.channels_last)
        labels = batch["labels"]
        return {**batch, "images": images, "labels": labels.to(device) if isinstance(labels, Tensor) else labels}

    def loss(self, model: nn.Module, batch: Batch, seed: tuple[int, int, int]) -> Tensor:
        """Return the cross-entropy over all pixels, and that of the auxiliary head."""
        torch.manual_seed(seed_for("forward", *seed))  # drop path and dropout
        return segmentation_loss(model(batch["images"]), batch["labels"], self.recipe.upernet.auxiliary_weight)

    def predict(self, model: nn.Module, batch: Batch) -> list[Tensor]:
        """Return for each image the classes (H, W) int64 at the size of its original labels."""
        logits: Tensor = model(batch["images"])
        padded = batch["images"].shape[2:]
        parts = zip(logits, batch["sizes"], batch["labels"], strict=True)
        return [classes_at(one.float(), padded, size, tuple(labels.shape)) for one, size, labels in parts]

    def evaluator(self) -> MeanIoU:
        """Return an empty evaluator."""
        return MeanIoU(self.names)

    def draw(self, model: nn.Module, batch: Batch, raw: Batch) -> Image.Image:
        """Return a sheet of images, each with its labels beside what was predicted."""
        raise NotImplementedError


def classes_at(logits: Tensor, padded: Any, valid: tuple[int, int], original: tuple[int, int]) -> Tensor:
    """Return the best class of each pixel of the original image, (H, W) int64.

    As the authors: logits (C, h, w) are enlarged to the network's input and then resized to the original, both
    bilinear. A few classes at a time, since 150 maps of a large photograph do not fit.
    """
    best = torch.full(original, -torch.inf, device=logits.device)
    classes = torch.zeros(original, dtype=torch.int64, device=logits.device)
    for first in range(0, len(logits), CLASSES_AT_ONCE):
        part = F.interpolate(logits[None, first : first + CLASSES_AT_ONCE], size=tuple(padded), mode="bilinear")
        part = part[..., : valid[0], : valid[1]]
        highest, index = F.interpolate(part, size=original, mode="bilinear")[0].max(dim=0)
        classes = torch.where(highest > best, index + first, classes)
        best = torch.maximum(highest, best)
    return classes
