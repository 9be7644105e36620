"""Object detection and instance segmentation: Cascade Mask R-CNN on any backbone (paper, section
4.3).
"""

from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from models.heads import CascadeSettings, ProposalSettings, create_detector, paste
from pipeline.loading.randomness import seed_for
from pipeline.loading.sampling import Batch, Sampling
from pipeline.params import Variant
from pipeline.pictures import detections, sheet
from pipeline.shards.manifest import Manifest
from pipeline.tasks.dense import network
from pipeline.tasks.detect.coco import CocoEvaluator
from pipeline.tasks.detect.recipe import DetectRecipe
from pipeline.tasks.detect.sampling import DetectSampling


class Detection:
    """The detection task for one variant on one manifest."""

    main_metric = "box_ap"
    draw_count = 6
    eval_batch = 1  # as the authors: an image's result must not depend on how far others pad it

    def __init__(self, variant: Variant, recipe: DetectRecipe, manifest: Manifest) -> None:
        self.variant = variant
        self.recipe = recipe
        self.classes = manifest.classes
        self.sampling: Sampling = DetectSampling(recipe, manifest.classes)

    def build(self) -> nn.Module:
        """Return the detector with as many classes as the manifest has."""
        settings = {
            "num_classes": len(self.classes),
            "proposals": ProposalSettings(**self.recipe.proposals.model_dump()),
            "cascade": CascadeSettings(
                **self.recipe.cascade.model_dump(include=set(CascadeSettings.__dataclass_fields__))
            ),
        }

        side = min(self.recipe.augment.short_sides)
        return network.build(create_detector, self.variant, self.recipe, (side, side), **settings)

    def load_given(self, model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
        """Load the backbone of a classifier; the rest stays fresh and is named."""
        return network.load_given(model, weights, self.variant)

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Move images and targets to the device and normalise the images."""
        images = network.prepare(batch["images"], batch["sizes"], device, self.recipe.channels_last)

        targets = [
            {name: tensor.to(device) for name, tensor in target.items()}
            for target in batch.get("targets", [])
        ]
        return {**batch, "images": images, "targets": targets}

    def loss(self, model: nn.Module, batch: Batch, seed: tuple[int, int, int]) -> Tensor:
        """Return the sum of all heads' losses; regions are sampled as `seed` says."""
        torch.manual_seed(seed_for("forward", *seed))
        losses: dict[str, Tensor] = model(batch["images"], batch["sizes"], batch["targets"])
        return torch.stack(list(losses.values())).sum()

    def predict(self, model: nn.Module, batch: Batch) -> list[dict[str, Any]]:
        """Return for each image boxes (K, 4) in pixels of the original, scores, labels and masks as
        run lengths.
        """
        outputs = model(batch["images"], batch["sizes"])
        parts = zip(outputs, batch["sizes"], batch["records"], strict=True)

        return [
            _at_original_size(output, size, (record["height"], record["width"]))
            for output, size, record in parts
        ]

    def evaluator(self) -> CocoEvaluator:
        """Return an empty evaluator."""
        return CocoEvaluator(self.classes)

    def draw(self, model: nn.Module, batch: Batch, raw: Batch) -> Image.Image:
        """Return a sheet of images, each with what is there beside what was found."""
        index = {entry.id: i for i, entry in enumerate(self.classes)}
        names = [entry.name for entry in self.classes]
        rows = zip(
            network.photographs(raw), raw["records"], self.predict(model, batch), strict=True
        )

        tiles = [
            detections.draw(
                np.asarray(photograph.resize((record["width"], record["height"]))),
                detections.of_record(record, index),
                detections.of_output(output),
                names,
            )
            for photograph, record, output in rows
        ]

        return sheet.sheet(tiles, columns=2)


def _at_original_size(
    output: dict[str, Tensor], size: tuple[int, int], original: tuple[int, int]
) -> dict[str, Any]:
    """Return one image's detections in pixels of the original (height, width), as the evaluator
    takes them.
    """
    scale = torch.tensor(
        [original[1] / size[1], original[0] / size[0]], device=output["boxes"].device
    ).repeat(2)
    boxes = output["boxes"].float() * scale
    masks = paste(output["masks"].float(), boxes, original).cpu().numpy().astype(np.uint8)
    runs = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0))) if len(masks) else []

    return {
        "boxes": boxes.cpu(),
        "scores": output["scores"].float().cpu(),
        "labels": output["labels"].cpu(),
        "masks": runs,
    }
