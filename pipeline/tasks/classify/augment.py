"""Image transforms of classification: PIL image in, uint8 array (H, W, 3) out.

Transforms are torchvision's and timm's; they draw from the global generators, which the caller
seeds per sample. Both libraries take seconds to import, so they are imported where a recipe first
needs them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.network.sizes import MEAN
from pipeline.tasks.classify.recipe import Augment, Recipe

if TYPE_CHECKING:
    pass

Pixels = NDArray[np.uint8]
RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def train_transform(recipe: Recipe) -> Callable[[Image.Image], Pixels]:
    """Random resized crop, flip, then RandAugment or colour jitter.

    A policy replaces the jitter, but for the sets of three operations (`t3a`), which leave it to
    the jitter. The parts and their draws are those of `timm.data.create_transform`, in its order.
    The crop is cut out before it is resized, so that no pixel beyond its box takes part.
    """
    from timm.data.transforms import RandomResizedCropAndInterpolation
    from torchvision.transforms import ColorJitter, Compose, RandomHorizontalFlip

    augment, size = recipe.augment, recipe.image_size
    crop = RandomResizedCropAndInterpolation(
        size, augment.crop_scale, augment.crop_ratio, augment.interpolation
    )
    parts: list[Callable[[Image.Image], Image.Image]] = [crop]
    if augment.flip:
        parts.append(RandomHorizontalFlip(augment.flip))
    if (policy := _policy(augment, size)) is not None:
        parts.append(policy)
    if augment.color_jitter and (augment.rand_augment is None or "3a" in augment.rand_augment):
        parts.append(ColorJitter(*[augment.color_jitter] * 3))
    composed = Compose(parts)
    return lambda image: np.asarray(composed(image))


def _policy(augment: Augment, size: int) -> Callable[[Image.Image], Image.Image] | None:
    """Return timm's RandAugment with the fill and translation that the official recipe gives it."""
    if augment.rand_augment is None:
        return None
    from timm.data.auto_augment import posterize, rand_augment_transform

    fill = tuple(min(255, round(255 * channel)) for channel in MEAN)
    options = {
        "translate_const": int(size * 0.45),
        "img_mean": fill,
        "interpolation": RESAMPLE[augment.interpolation],
    }
    policy = rand_augment_transform(augment.rand_augment, options)
    for operation in policy.ops:
        if operation.aug_fn is posterize:
            operation.aug_fn = _posterize
    transform: Callable[[Image.Image], Image.Image] = policy
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


def eval_transform(recipe: Recipe) -> Callable[[Image.Image], Pixels]:
    """Resize the short side to `eval_resize`, then cut the centre square of `image_size`, as
    torchvision does both.
    """
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    interpolation = InterpolationMode(recipe.augment.interpolation)
    composed = Compose([Resize(recipe.eval_resize, interpolation), CenterCrop(recipe.image_size)])
    return lambda image: np.asarray(composed(image))
