"""Flips, resizes and crops that an image, its boxes and its masks go through together.

Images and boxes go step by step through torchvision. For masks a step only picks rows and columns,
so all steps in a row are one source row for each row of the result and one source column for each
column: a mask is moved by one look-up, however many steps there are.

Conventions are mmcv's, which the published recipes run on: bilinear without antialiasing for
images, pixel centres at halves; nearest for masks, target pixel i showing source pixel floor(i *
source / target).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.pixels.jpeg import decode

Mask = NDArray[np.uint8]
Size = tuple[int, int]


class Geometry:
    """The steps from a source of `height` x `width` pixels; `rows` and `columns` say where each
    pixel comes from.
    """

    def __init__(self, height: int, width: int) -> None:
        from torchvision.transforms.v2 import functional

        self.source: Size = height, width
        self.rows = np.arange(height)
        self.columns = np.arange(width)
        self._functional = functional
        self._steps: list[Callable[[Any], Any]] = []

    @property
    def size(self) -> Size:
        """Height and width after the steps so far."""
        return len(self.rows), len(self.columns)

    def flip(self) -> None:
        """Mirror left and right."""
        self.columns = self.columns[::-1]
        self._steps.append(self._functional.horizontal_flip)

    def resize(self, size: Size) -> None:
        """Stretch to a height and width of at least 1."""
        height, width = size
        old_height, old_width = self.size
        self.rows = self.rows[np.arange(height) * old_height // height]
        self.columns = self.columns[np.arange(width) * old_width // width]
        self._steps.append(partial(self._functional.resize, size=[height, width], antialias=False))

    def crop(self, top: int, left: int, size: Size) -> None:
        """Cut out a part that lies inside."""
        height, width = size
        self.rows = self.rows[top : top + height]
        self.columns = self.columns[left : left + width]
        self._steps.append(
            partial(self._functional.crop, top=top, left=left, height=height, width=width)
        )

    def image(self, image: Tensor) -> Tensor:
        """Move an image (3, H, W) uint8; in channels_last memory, as `pixels` gives it, that is
        three times as fast.
        """
        for step in self._steps:
            image = step(image).clone()  # a crop's view would leave the fast memory layout
        return image

    def boxes(self, boxes: Tensor) -> Tensor:
        """Move boxes (N, 4) of left, top, right, bottom in pixels, clipped at every crop and at the
        end.
        """
        from torchvision.tv_tensors import BoundingBoxes

        moved = BoundingBoxes(boxes, format="XYXY", canvas_size=self.source)
        for step in self._steps:
            moved = step(moved)
        clipped: Tensor = self._functional.clamp_bounding_boxes(moved).as_subclass(Tensor)
        return clipped

    def mask(self, mask: Mask) -> Mask:
        """Move a mask or label map (H, W)."""
        return pick(mask, self.rows, self.columns)


def pick(mask: Mask, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Mask:
    """Return the mask made of these rows and columns."""
    return mask.take(rows, axis=0).take(columns, axis=1)


def fitted(size: Size, sides: Sequence[int]) -> Size:
    """Return the largest size of the same shape that `sides` allow, a short and a long one in any
    order.
    """
    short, long = sorted(sides)
    factor = min(short / min(size), long / max(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def corner(size: Size, part: Size, draw: np.random.Generator) -> Size:
    """Draw top and left of a part that lies inside, every place as likely."""
    return int(draw.integers(size[0] - part[0] + 1)), int(draw.integers(size[1] - part[1] + 1))


def pixels(data: bytes) -> Tensor:
    """Decode an image file to (3, H, W) uint8 RGB in channels_last memory."""
    return torch.from_numpy(decode(data)).permute(2, 0, 1)


def stacked(
    images: Sequence[Tensor], multiple: int = 1, least: Size = (1, 1)
) -> tuple[Tensor, list[Size]]:
    """Stack images (3, h, w) of any sizes, with zeros to the right and below.

    Args:
        images: at least one, uint8.
        multiple: height and width of the result are multiples of it.
        least: the result is at least that high and wide.

    Returns:
        Images (B, 3, H, W) uint8 in channels_last memory, and height and width of each one's own
        part.
    """
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    height, width = (
        -(-max(sides) // multiple) * multiple for sides in zip(*sizes, least, strict=True)
    )

    batch = torch.zeros(len(images), height, width, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    for row, image, (high, wide) in zip(batch, images, sizes, strict=True):
        row[:, :high, :wide] = image
    return batch, sizes
