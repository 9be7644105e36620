"""Classification's samples: an image and its class."""

from typing import Any

import numpy as np
import torch

from pipeline.core.pixels.jpeg import decode_padded
from pipeline.loading.images import photograph
from pipeline.loading.randomness import seed_libraries
from pipeline.loading.sampling import Batch
from pipeline.tasks.classify import augment
from pipeline.tasks.classify.recipe import Recipe


class ClassifySampling:
    """JPEG and class index to a square uint8 image and its label."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.libraries: tuple[str, ...] = ("timm.data",) if recipe.augment.rand_augment else ()
        self._transforms: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_transforms": None}  # each loader worker builds them anew

    def _built(self) -> tuple[Any, Any]:
        if self._transforms is None:
            self._transforms = (
                augment.train_transform(self.recipe),
                augment.eval_transform(self.recipe),
            )
        return self._transforms

    def train_sample(self, raw: dict[str, Any], seed: int, epoch: int) -> dict[str, Any]:
        """Decode and augment, as a function of (seed, epoch, sample)."""
        seed_libraries("augment", seed, epoch, raw["__key__"])
        return self._sample(raw, self._built()[0])

    def eval_sample(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Decode, resize the short side and cut the centre."""
        return self._sample(raw, self._built()[1])

    def _sample(self, raw: dict[str, Any], transform: Any) -> dict[str, Any]:
        image = transform(decode_padded(photograph(raw)))
        sample = {"key": raw["__key__"], "image": image, "label": int(raw["cls"])}
        return {**sample, "real": raw["real"]} if "real" in raw else sample

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        """Stack to images (B, 3, H, W) uint8 in channels_last memory and labels (B,) int64.

        `real`, where samples have it, is a list of class indices for each image.
        """
        images = torch.from_numpy(np.stack([sample["image"] for sample in samples]))
        labels = torch.tensor([sample["label"] for sample in samples])
        batch = {
            "keys": [sample["key"] for sample in samples],
            "images": images.permute(0, 3, 1, 2),
            "labels": labels,
        }

        return (
            {**batch, "real": [sample["real"] for sample in samples]}
            if "real" in samples[0]
            else batch
        )
