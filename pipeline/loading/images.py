"""The image of a sample, and from pixels to what a network takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.network.sizes import MEAN, STD

if TYPE_CHECKING:
    from torch import Tensor


def photograph(raw: Mapping[str, Any]) -> bytes:
    """Return the image of a sample as its shard holds it: JPEG, or PNG where nothing may be
    lost.
    """
    data: bytes = raw["jpg"] if "jpg" in raw else raw["image.png"]
    return data


def normalise(images: "Tensor") -> "Tensor":
    """Return images (B, 3, H, W), 0..255, in float32 with ImageNet's mean and standard deviation
    taken out.

    The operations are those of torchvision's `ToTensor` and `Normalize`, so that the last bit is
    theirs too.
    """
    import torch

    mean, std = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD)
    )
    return images.float().div(255).sub_(mean).div_(std)
