"""The image of a sample, and from pixels to what a network takes."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from models.network.sizes import MEAN, STD

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def photograph(raw: Mapping[str, Any]) -> bytes:
    """Return the image of a sample as its shard holds it: JPEG, or PNG where nothing may be
    lost.
    """
    data: bytes = raw["jpg"] if "jpg" in raw else raw["image.png"]
    return data


def normalise(images: "Tensor") -> "Tensor":
    """Return images (B, 3, H, W), 0..255, in float32 with ImageNet's mean and standard deviation
    taken out, in the memory format that they have.

    The operations are those of torchvision's `ToTensor` and `Normalize`, so that the last bit is
    theirs too. Images in channels_last memory are taken as rows of pixels: the same operations
    over long rows, in place.
    """
    import torch

    if not images.is_contiguous(memory_format=torch.channels_last):
        mean, std = (values.view(1, 3, 1, 1) for values in _constants(images.device, 1))
        return images.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)

    batch, channels, height, width = images.shape
    mean, std = _constants(images.device, width)
    rows = images.permute(0, 2, 3, 1).view(batch * height, width * channels)
    rows = rows.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _constants(device: "torch.device", width: int) -> tuple["Tensor", "Tensor"]:
    """Return mean and standard deviation of each value in a row of pixels."""
    import torch

    with torch.inference_mode(False):  # they stay, whatever the mode that asks first
        mean, std = (torch.tensor(values, device=device).repeat(width) for values in (MEAN, STD))
    return mean, std
