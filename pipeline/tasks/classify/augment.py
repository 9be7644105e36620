"""Image transforms of classification: pixels (H, W, 4), of which three count, in; (H, W, 3) out.

The draws and the pixels are those of torchvision's and timm's transforms; draws come from the
global generators, which the caller seeds per sample. Neither library is imported but for
RandAugment, since they take seconds.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from models.network.sizes import MEAN
from pipeline.core.pixels.affine import quick
from pipeline.core.pixels.native import Pixels
from pipeline.core.pixels.resize import RESAMPLE, resize
from pipeline.tasks.classify.recipe import Augment, Recipe

ATTEMPTS = 10
AFFINE = ("rotate", "shear_x", "shear_y", "translate_x_rel", "translate_y_rel")
"""timm's functions that do no more than ask for an affine transform."""
Transform = Callable[[Pixels], Pixels]
Operation = Callable[[Image.Image], Image.Image]


def train_transform(recipe: Recipe) -> Transform:
    """Random resized crop, flip, then RandAugment or colour jitter.

    A policy replaces the jitter, but for the sets of three operations (`t3a`), which leave it to
    the jitter. The parts and their draws are those of `timm.data.create_transform`, in its order.
    The crop is cut out before it is resized, so that no pixel beyond its box takes part.
    """
    augment = recipe.augment
    size = (recipe.image_size, recipe.image_size)
    operations = _operations(augment, recipe.image_size)

    def transform(pixels: Pixels) -> Pixels:
        top, left, height, width = crop_box(pixels.shape[1], pixels.shape[0], augment)
        crop = pixels[top : top + height, left : left + width]
        mirror = bool(augment.flip) and bool(torch.rand(1) < augment.flip)
        out = resize(crop, size, augment.interpolation, mirror, channels=4 if operations else 3)
        if not operations:
            return out

        image = Image.frombytes("RGB", size, out, "raw", "RGBX")
        for operation in operations:
            image = operation(image)
        return np.asarray(image)

    return transform


def crop_box(width: int, height: int, augment: Augment) -> tuple[int, int, int, int]:
    """Draw top, left, height and width of a crop as timm does: by area and aspect ratio, and the
    largest one in the middle where none of ten attempts fits.
    """
    area = width * height
    low, high = augment.crop_ratio

    for _ in range(ATTEMPTS):
        target = random.uniform(*augment.crop_scale) * area
        ratio = math.exp(random.uniform(math.log(low), math.log(high)))
        wide = round(math.sqrt(target * ratio))
        tall = round(math.sqrt(target / ratio))
        if wide <= width and tall <= height:
            top = random.randint(0, height - tall)
            left = random.randint(0, width - wide)
            return top, left, tall, wide

    wide = width
    tall = height
    if width / height < low:
        tall = round(wide / low)
    elif width / height > high:
        wide = round(tall * high)

    return (height - tall) // 2, (width - wide) // 2, tall, wide


def _operations(augment: Augment, size: int) -> list[Operation]:
    """Return what is done to a crop of this size."""
    operations: list[Operation] = []
    if (policy := _policy(augment, size)) is not None:
        operations.append(policy)
    if augment.color_jitter and (augment.rand_augment is None or "3a" in augment.rand_augment):
        operations.append(ColorJitter(augment.color_jitter))
    return operations


class ColorJitter:
    """Brightness, contrast and saturation in a random order, as torchvision draws and does it."""

    def __init__(self, strength: float) -> None:
        """Draw factors from 1 - strength to 1 + strength."""
        self.range = max(0.0, 1 - strength), 1 + strength

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the image with other colours."""
        kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        order = torch.randperm(len(kinds) + 1).tolist()  # torchvision's fourth is the hue
        factors = [_uniform(*self.range) for _ in kinds]
        for number in order:
            if number < len(kinds):
                image = kinds[number](image).enhance(factors[number])
        return image


def _uniform(low: float, high: float) -> float:
    """Draw from torch's generator, as torchvision's transforms do."""
    return float(torch.empty(1).uniform_(low, high))


def _policy(augment: Augment, size: int) -> Operation | None:
    """Return timm's RandAugment with the fill and translation that the official recipe gives it."""
    if augment.rand_augment is None:
        return None
    from timm.data import auto_augment

    fill = tuple(min(255, round(255 * channel)) for channel in MEAN)
    options = {
        "translate_const": int(size * 0.45),
        "img_mean": fill,
        "interpolation": RESAMPLE[augment.interpolation],
    }

    policy = auto_augment.rand_augment_transform(augment.rand_augment, options)
    affine = [getattr(auto_augment, name) for name in AFFINE]
    for operation in policy.ops:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
        elif operation.aug_fn in affine:
            operation.aug_fn = quick(operation.aug_fn)

    transform: Operation = policy
    return transform


def _posterize(image: Image.Image, bits_to_keep: int, **options: Any) -> Image.Image:
    """Keep the highest bits of each channel; none is a black image, for which timm asks and which
    Pillow refuses.
    """
    from timm.data.auto_augment import posterize

    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    posterized: Image.Image = posterize(image, bits_to_keep, **options)
    return posterized


def eval_transform(recipe: Recipe) -> Transform:
    """Resize the short side to `eval_resize`, then cut the centre square of `image_size`, as
    torchvision does both.
    """
    short = recipe.eval_resize
    side = recipe.image_size

    def transform(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        least = min(width, height)
        size = (short, int(short * height / width))
        if width > height:
            size = (int(short * width / height), short)

        same = pixels[..., :3]
        image = same if least == short else resize(pixels, size, recipe.augment.interpolation)
        top, left = (round((full - side) / 2) for full in image.shape[:2])
        return np.ascontiguousarray(image[top : top + side, left : left + side])

    return transform
