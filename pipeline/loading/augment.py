"""Image transforms of classification: PIL image in, uint8 array (H, W, 3) out.

Transforms are torchvision's and timm's; they draw from the global generators, which the caller seeds per sample.
Both libraries take seconds to import, so they are imported where a recipe first needs them.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.params import Augment, Recipe

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]
RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def decode(data: bytes) -> Image.Image:
    """Decode an image file to RGB as it is stored (EXIF orientation is not applied, as in the official loaders)."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def normalise(images: "Tensor") -> "Tensor":
    """Return images (B, 3, H, W), 0..255, in float32 with ImageNet's mean and standard deviation taken out."""
    import torch

    mean, std = (255 * torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.float() - mean) / std


def train_transform(recipe: Recipe) -> Callable[[Image.Image], Pixels]:
    """Random resized crop, flip, then RandAugment or colour jitter (a policy replaces the jitter, as in timm)."""
    from torchvision.transforms import ColorJitter, RandomResizedCrop

    augment, size = recipe.augment, recipe.image_size
    resample = RESAMPLE[augment.interpolation]
    scale, ratio = list(augment.crop_scale), list(augment.crop_ratio)
    policy = _policy(augment, size)
    jitter = ColorJitter(*[augment.color_jitter] * 3) if augment.color_jitter and policy is None else None

    def transform(image: Image.Image) -> Pixels:
        top, left, height, width = RandomResizedCrop.get_params(image, scale, ratio)
        image = image.resize((size, size), resample, box=(left, top, left + width, top + height))
        if np.random.random() < augment.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if policy is not None:
            image = policy(image)
        elif jitter is not None:
            image = jitter(image)
        return np.asarray(image)

    return transform


def _policy(augment: Augment, size: int) -> Callable[[Image.Image], Image.Image] | None:
    """Return timm's RandAugment with the fill and translation that the official recipe gives it."""
    if augment.rand_augment is None:
        return None
    from timm.data.auto_augment import posterize, rand_augment_transform

    fill = tuple(min(255, round(255 * channel)) for channel in MEAN)
    options = {"translate_const": int(size * 0.45), "img_mean": fill, "interpolation": RESAMPLE[augment.interpolation]}
    policy = rand_augment_transform(augment.rand_augment, options)
    for operation in policy.ops:
        if operation.aug_fn is posterize:
            operation.aug_fn = _posterize
    transform: Callable[[Image.Image], Image.Image] = policy
    return transform


def _posterize(image: Image.Image, bits_to_keep: int, **options: Any) -> Image.Image:
    """Keep the highest bits of each channel; none is a black image, for which timm asks and which Pillow refuses."""
    from timm.data.auto_augment import posterize

    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    posterized: Image.Image = posterize(image, bits_to_keep, **options)
    return posterized


def eval_transform(recipe: Recipe) -> Callable[[Image.Image], Pixels]:
    """Resize the short side to `eval_resize`, then cut the centre square of `image_size`."""
    resample, short, size = RESAMPLE[recipe.augment.interpolation], recipe.eval_resize, recipe.image_size

    def transform(image: Image.Image) -> Pixels:
        factor = short / min(image.size)
        width, height = (max(size, round(side * factor)) for side in image.size)
        if (width, height) != image.size:
            image = image.resize((width, height), resample)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return np.asarray(image.crop((left, top, left + size, top + size)))

    return transform
