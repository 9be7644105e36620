"""Image classification as the paper trains it: soft-target cross-entropy over mixed images, top-1
and top-5.

Where the shards have ImageNet-Real's labels, top-1 against them too.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import models
from pipeline.core.errors import UserError
from pipeline.loading.images import normalise
from pipeline.loading.randomness import generator, seed_for, seed_libraries
from pipeline.loading.sampling import Batch, Sampling
from pipeline.params import Variant
from pipeline.pictures.sheet import sheet, tile
from pipeline.shards.manifest import Manifest
from pipeline.tasks.classify.accuracy import Accuracy
from pipeline.tasks.classify.recipe import Augment, Recipe
from pipeline.tasks.classify.sampling import ClassifySampling


class Classification:
    """The classification task for one variant on one manifest."""

    main_metric = "top1"
    draw_count = 18

    @property
    def eval_batch(self) -> int:
        """Images at a time in evaluation."""
        return self.recipe.micro_batch

    def __init__(self, variant: Variant, recipe: Recipe, manifest: Manifest) -> None:
        self.variant = variant
        self.recipe = recipe
        self.names = [entry.name for entry in manifest.classes]
        self.sampling: Sampling = ClassifySampling(recipe)
        self._erase = _random_erasing(recipe.augment)

    def build(self) -> nn.Module:
        """Return the variant's model with as many classes as the manifest has."""
        try:
            options = dict(self.variant.overrides)
            if self.variant.mixer != "timm":
                options["image_size"] = self.recipe.image_size
            return models.create_model(
                self.variant.model_name, num_classes=len(self.names), **options
            )
        except ValueError as error:
            raise UserError(str(error)) from None

    def load_given(self, model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
        """Load weights of the same architecture; a head for another number of classes stays
        fresh.
        """
        expected = model.state_dict()
        fresh = [
            name
            for name, value in weights.items()
            if name.startswith("head.") and expected[name].shape != value.shape
        ]

        result = model.load_state_dict(
            {k: v for k, v in weights.items() if k not in fresh}, strict=False
        )
        wrong = [*result.unexpected_keys, *(k for k in result.missing_keys if k not in fresh)]
        if wrong:
            model_name = self.variant.model_name
            raise UserError(
                f"init_from does not fit {model_name}: {len(wrong)} names differ, first {wrong[0]}"
            )

        return fresh

    def prepare(self, batch: Batch, device: torch.device) -> Batch:
        """Move to the device and normalise with ImageNet's mean and standard deviation, in
        float32.
        """
        images = normalise(batch["images"].to(device, non_blocking=True))
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        labels = batch["labels"].to(device, non_blocking=True)
        return {**batch, "images": images.contiguous(memory_format=layout), "labels": labels}

    def loss(self, model: nn.Module, batch: Batch, seed: tuple[int, int, int]) -> Tensor:
        """Erase, mix, and return the mean soft-target cross-entropy."""
        seed_libraries("erase", *seed)
        # the device's generator too: drop path, erasing noise
        torch.manual_seed(seed_for("forward", *seed))

        images = batch["images"] if self._erase is None else self._erase(batch["images"])
        smoothed = _one_hot(batch["labels"], len(self.names), self.recipe.augment.label_smoothing)
        images, targets = mix(images, smoothed, self.recipe.augment, seed)
        logits = model(images).float()
        return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return logits (B, classes) of a prepared batch."""
        logits: Tensor = model(batch["images"])
        return logits

    def evaluator(self) -> Accuracy:
        """Return an empty evaluator."""
        return Accuracy(self.names)

    def draw(self, model: nn.Module, batch: Batch, raw: Batch) -> Image.Image:
        """Return a sheet of images (B, 3, H, W), each over its prediction: green right, red
        wrong.
        """
        guesses = model(batch["images"]).float().softmax(dim=-1).max(dim=-1)

        tiles = []
        rows = zip(raw["images"], raw["labels"], guesses.indices, guesses.values, strict=True)
        for image, label, guess, sure in rows:
            right = int(label) == int(guess)
            text = f"{self.names[int(guess)]} {float(sure):.0%}" + (
                "" if right else f"; is {self.names[int(label)]}"
            )
            tiles.append(
                tile(image.permute(1, 2, 0).numpy(), text, "#1a7f37" if right else "#cf222e")
            )

        return sheet(tiles, columns=6)


def mix(
    images: Tensor, targets: Tensor, numbers: Augment, seed: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """Mix each image (B, 3, H, W) and target (B, classes) with its mirror in the batch, by mixup or
    cutmix.

    The whole micro-batch is mixed one way with one ratio, as the official recipe's "batch" mode;
    the draw is a function of (seed, step, micro-batch).
    """
    draw = generator("mix", *seed)
    chance, switch, centre_y, centre_x = draw.random(4)
    if not (numbers.mixup or numbers.cutmix) or chance >= numbers.mix_prob:
        return images, targets

    cut = numbers.cutmix > 0 and (numbers.mixup == 0 or switch < numbers.switch_prob)
    alpha = numbers.cutmix if cut else numbers.mixup
    keep = float(draw.beta(alpha, alpha))

    if cut:
        height, width = images.shape[-2:]
        rows, keep_rows = _span(centre_y, height, keep)
        columns, keep_columns = _span(centre_x, width, keep)
        partner = images[..., rows, columns].flip(0)
        images = images.clone()
        images[..., rows, columns] = partner
        keep = 1 - keep_rows * keep_columns / (height * width)
    else:
        images = (images * keep).add_(images.flip(0).mul_(1 - keep))

    return images, targets * keep + targets.flip(0) * (1 - keep)


def _span(centre: float, side: int, keep: float) -> tuple[slice, int]:
    """Return the part of a side that cutmix replaces, clipped to the image, and its length."""
    half = int(side * np.sqrt(1 - keep)) // 2
    middle = int(centre * side)
    low = max(0, middle - half)
    high = min(side, middle + half)
    return slice(low, high), high - low


def _one_hot(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    return F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def _random_erasing(numbers: Augment) -> Any | None:
    if numbers.erasing == 0:
        return None
    from timm.data.random_erasing import RandomErasing

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RandomErasing(numbers.erasing, mode="pixel", max_count=1, device=device)
