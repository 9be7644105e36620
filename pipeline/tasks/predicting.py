"""What a published network makes of pictures, in the words of its task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """A picture as a network takes it, and as it is shown.

    Attributes:
        image: (3, H, W), what the network's transform made of it.
        size: height and width of the original.
        shown: RGB, no larger than a screen.
    """

    image: Tensor
    size: tuple[int, int]
    shown: Image.Image


@dataclass(frozen=True)
class Predicted:
    """What is said of one picture.

    Attributes:
        words: for people, one line.
        record: makes the same as JSON; masks of a large photograph take seconds.
        annotated: the picture with what was found drawn on it.
        maps: further images by the ending of their file's name.
    """

    words: str
    record: Callable[[], dict[str, Any]]
    annotated: Image.Image
    maps: dict[str, Image.Image] = field(default_factory=dict)


class Predictor(Protocol):
    """One task's predictions by one network."""

    at_once: int
    """How many pictures go through the network at a time."""

    def __init__(self, model: Any, confidence: float) -> None:
        """`model` is one of `models.load`; `confidence` is the least of an object."""
        ...

    def __call__(self, pictures: Sequence[Picture]) -> list[Predicted]:
        """Return what is in each picture."""
        ...


def stacked(model: Any, pictures: Sequence[Picture]) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return the pictures' images (B, 3, H, W) on the model's device, and (height, width) of each
    one's own part.
    """
    images, sizes = model.transform.stack([picture.image for picture in pictures])
    device = next(model.parameters()).device
    return images.to(device), sizes


def device() -> torch.device:
    """Return the device that predictions are made on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
