"""The likeliest classes of any picture."""

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.pictures import ranking
from pipeline.tasks.predicting import Picture, Predicted, stacked

NAMED = 5


class ClassPredictor:
    """Classes with their probabilities, the likeliest first."""

    at_once = 32

    def __init__(self, model: Any, confidence: float) -> None:
        self.model = model
        self.classes: tuple[str, ...] = model.classes

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture]) -> list[Predicted]:
        """Return the five likeliest classes of each picture."""
        images, _ = stacked(self.model, pictures)
        chances = self.model(images).float().softmax(dim=-1).cpu()
        best = chances.topk(min(NAMED, len(self.classes)), dim=-1)
        rows = zip(pictures, best.values.tolist(), best.indices.tolist(), strict=True)

        return [
            self._predicted(picture, list(zip(indices, values, strict=True)))
            for picture, values, indices in rows
        ]

    def _predicted(self, picture: Picture, best: list[tuple[int, float]]) -> Predicted:
        named = [(self.classes[index], chance) for index, chance in best]

        return Predicted(
            words=", ".join(f"{name} {chance:.1%}" for name, chance in named),
            record=lambda: {
                "top": [{"class": name, "confidence": round(chance, 6)} for name, chance in named]
            },
            annotated=ranking.draw(picture.shown, named),
        )
