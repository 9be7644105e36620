"""From a picture to what a published network takes, bit for bit as in its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Size = tuple[int, int]


@dataclass(frozen=True)
class CropTransform:
    """A picture's short side at `resize` pixels, then its centre, a square of `crop` pixels."""

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return a normalised image (3, crop, crop) of a picture in any mode."""
        from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

        interpolation = InterpolationMode(self.interpolation)
        cut = Compose([Resize(self.resize, interpolation), CenterCrop(self.crop)])
        return _normalised(_pixels(cut(picture.convert("RGB"))), self.mean, self.std)

    def stack(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Return images (B, 3, crop, crop), and (height, width) of each."""
        return torch.stack(list(images)), [(self.crop, self.crop)] * len(images)


@dataclass(frozen=True)
class FitTransform:
    """A picture as large as `sides` allow, a short and a long one in any order.

    A stack's height and width are multiples of `multiple`.
    """

    sides: tuple[int, int]
    multiple: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return a normalised image (3, H, W) of a picture in any mode."""
        from torchvision.transforms.v2.functional import resize

        pixels = _pixels(picture.convert("RGB"))
        short, long = sorted(self.sides)
        size = pixels.shape[1:]
        factor = min(short / min(size), long / max(size))
        fitted = [max(1, int(side * factor + 0.5)) for side in size]
        return _normalised(resize(pixels, size=fitted, antialias=False), self.mean, self.std)

    def stack(self, images: Sequence[Tensor]) -> tuple[Tensor, list[Size]]:
        """Return images (B, 3, H, W) with zeros to the right and below, and (height, width) of each
        one's own part.
        """
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        height, width = (
            -(-max(sides) // self.multiple) * self.multiple for sides in zip(*sizes, strict=True)
        )

        batch = images[0].new_zeros(len(images), 3, height, width)
        for row, image, (high, wide) in zip(batch, images, sizes, strict=True):
            row[:, :high, :wide] = image

        return batch, sizes


Transform = CropTransform | FitTransform
KINDS: Mapping[str, Callable[..., Transform]] = {"crop": CropTransform, "fit": FitTransform}


def transform_of(config: Mapping[str, Any]) -> Transform:
    """Return the transform that a configuration describes.

    Raises:
        ValueError: it is of a kind that this version does not know.
    """
    transform_kind = str(config.get("kind"))
    if transform_kind not in KINDS:
        raise ValueError(
            f"there is no transform of kind '{transform_kind}'; known are {', '.join(KINDS)}"
        )

    numbers = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config.items()
        if name != "kind"
    }
    return KINDS[transform_kind](**numbers)


def _pixels(picture: Image.Image) -> Tensor:
    """Return an RGB picture as (3, H, W) uint8 in channels_last memory."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return float32 without mean and standard deviation, by the operations of torchvision."""
    means, stds = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return pixels.float().div(255).sub_(means).div_(stds)
