"""The objects in any picture."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from models.heads import paste
from pipeline.pictures import detections
from pipeline.tasks.predicting import Picture, Predicted, stacked

NAMED = 8
Found = dict[str, Tensor]
Size = tuple[int, int]


class ObjectPredictor:
    """Objects with classes, boxes and masks, the surest first."""

    at_once = 1  # what is found must not depend on how far other pictures pad it

    def __init__(self, model: Any, confidence: float) -> None:
        self.model = model
        self.confidence = confidence
        self.classes: tuple[str, ...] = model.classes

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture]) -> list[Predicted]:
        """Return the objects of each picture of at least the confidence."""
        images, sizes = stacked(self.model, pictures)
        outputs = self.model(images, sizes)
        return [
            self._predicted(picture, {name: tensor.cpu() for name, tensor in output.items()}, size)
            for picture, output, size in zip(pictures, outputs, sizes, strict=True)
        ]

    def _predicted(self, picture: Picture, detected: Found, size: Size) -> Predicted:
        sure = detected["scores"] >= self.confidence
        detected = {name: tensor[sure] for name, tensor in detected.items()}

        return Predicted(
            words=self._words(detected),
            record=partial(self._record, picture, detected, size),
            annotated=self._draw(picture, detected, size),
        )

    def _words(self, detected: Found) -> str:
        pairs = zip(detected["labels"].tolist(), detected["scores"].tolist(), strict=True)
        named = [f"{self.classes[label]} {score:.2f}" for label, score in pairs]
        more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []

        return (
            ", ".join(named[:NAMED] + more) or f"nothing of confidence {self.confidence:g} or more"
        )

    def _record(self, picture: Picture, detected: Found, size: Size) -> dict[str, Any]:
        boxes = _scaled(detected["boxes"], size, picture.size)
        objects = [
            {
                "class": self.classes[label],
                "confidence": round(score, 6),
                "box": [round(edge, 2) for edge in box.tolist()],
                "mask": _run_lengths(mask, box, picture.size),
            }
            for label, score, mask, box in zip(
                detected["labels"].tolist(),
                detected["scores"].tolist(),
                detected["masks"],
                boxes,
                strict=True,
            )
        ]

        return {"objects": objects}

    def _draw(self, picture: Picture, detected: Found, size: Size) -> Any:
        image = np.asarray(picture.shown)
        boxes = _scaled(detected["boxes"], size, image.shape[:2])
        objects = detections.Objects(
            boxes.numpy(),
            detected["labels"].numpy(),
            list(paste(detected["masks"].float(), boxes, image.shape[:2]).numpy()),
            detected["scores"].numpy(),
        )

        return detections.draw_found(image, objects, self.classes)


def _scaled(boxes: Tensor, size: Size, target: Sequence[int]) -> Tensor:
    """Return boxes (K, 4) of an image of (height, width) in the pixels of another size of it."""
    scale = torch.tensor([target[1] / size[1], target[0] / size[0]]).repeat(2)
    return boxes.float() * scale


def _run_lengths(mask: Tensor, box: Tensor, size: Size) -> dict[str, Any]:
    """Return a mask (S, S) over its box as COCO's run lengths in a picture of (height, width)."""
    pasted = paste(mask[None].float(), box[None], size)[0].numpy().astype(np.uint8)
    runs = coco_mask.encode(np.asfortranarray(pasted))
    return {"size": list(size), "counts": runs["counts"].decode("ascii")}
