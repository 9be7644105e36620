"""The class of every pixel of any picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.pictures import segmentation
from pipeline.tasks.predicting import Picture, Predicted, stacked
from pipeline.tasks.segment.logic import classes_at

NAMED = 8


class LabelPredictor:
    """A map of classes, and the share of the picture that each takes."""

    at_once = 1  # what is found must not depend on how far other pictures pad it

    def __init__(self, model: Any, confidence: float) -> None:
        self.model = model
        self.classes: tuple[str, ...] = model.classes

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture]) -> list[Predicted]:
        """Return the classes of each picture's pixels."""
        images, sizes = stacked(self.model, pictures)
        padded = tuple(images.shape[2:])
        logits = self.model(images).float()
        return [
            self._predicted(picture, classes_at(image_logits, padded, valid, picture.size).cpu())
            for picture, image_logits, valid in zip(pictures, logits, sizes, strict=True)
        ]

    def _predicted(self, picture: Picture, classes: Tensor) -> Predicted:
        dtype = np.uint8 if len(self.classes) <= 256 else np.uint16
        labels = classes.numpy().astype(dtype)

        counts = torch.bincount(classes.flatten(), minlength=len(self.classes)).tolist()
        pairs = sorted(zip(counts, self.classes, strict=True), key=lambda pair: -pair[0])
        shares = [(name, count / labels.size) for count, name in pairs if count]

        label_map = Image.fromarray(labels)
        displayed = np.asarray(label_map.resize(picture.shown.size, Image.Resampling.NEAREST))
        named = [f"{name} {share:.1%}" for name, share in shares[:NAMED]]

        return Predicted(
            words=", ".join(named),
            record=lambda: {
                "classes": [{"class": name, "share": round(share, 6)} for name, share in shares]
            },
            annotated=segmentation.draw_predicted(
                np.asarray(picture.shown), displayed, self.classes
            ),
            maps={"labels": label_map},
        )
