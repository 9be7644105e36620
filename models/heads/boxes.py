"""Boxes: as offsets from other boxes, matched with true boxes, and clipped.

A box is (x1, y1, x2, y2) in pixels.

torchvision's coder and matcher mean something else: the coder limits growth but not shrinking, and
the matcher gives every box its best anchor however little they overlap, so that a box that no
anchor touches claims all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou, clip_boxes_to_image

BACKGROUND = -1
IGNORED = -2
MOST = abs(log(16 / 1000))
"""A decoded side is at most 62.5 times longer or shorter than the side that it starts from."""

Size = tuple[int, int]


def encode(boxes: Tensor, targets: Tensor) -> Tensor:
    """Offsets (N, 4) that take `boxes` (N, 4) to `targets` (N, 4): shift in units of the sides, log
    of the ratios.
    """
    x, y, width, height = box_convert(boxes, "xyxy", "cxcywh").unbind(-1)
    to_x, to_y, to_width, to_height = box_convert(targets, "xyxy", "cxcywh").unbind(-1)
    return torch.stack(
        (
            (to_x - x) / width,
            (to_y - y) / height,
            (to_width / width).log(),
            (to_height / height).log(),
        ),
        dim=-1,
    )


def decode(boxes: Tensor, offsets: Tensor, stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Apply offsets to boxes: the inverse of `encode`, within `MOST`.

    Args:
        boxes: (N, 4), or any shape that broadcasts against the offsets.
        offsets: (..., 4), in units of `stds`.
        stds: what one unit of each offset means.

    Returns:
        (..., 4).
    """
    x, y, width, height = box_convert(boxes, "xyxy", "cxcywh").unbind(-1)
    dx, dy, dw, dh = (offsets * offsets.new_tensor(stds)).unbind(-1)
    moved = (
        x + dx * width,
        y + dy * height,
        width * dw.clamp(-MOST, MOST).exp(),
        height * dh.clamp(-MOST, MOST).exp(),
    )

    decoded: Tensor = box_convert(torch.stack(moved, dim=-1), "cxcywh", "xyxy")
    return decoded


def match(
    boxes: Tensor, truth: Tensor, positive: float, negative: float, best: float | None = None
) -> Tensor:
    """Which true box each box stands for.

    Args:
        boxes: (M, 4).
        truth: (N, 4), N may be 0.
        positive: IoU from which on a box stands for the true box that it overlaps most.
        negative: IoU below which it is background.
        best: if given, the boxes that a true box overlaps most stand for it from this IoU on, even
            if they overlap another one more; of several such true boxes the last.

    Returns:
        (M,) int64, indices into `truth`, `BACKGROUND` or `IGNORED`.
    """
    if not len(truth):
        return torch.full((len(boxes),), BACKGROUND, device=boxes.device)

    ious = box_iou(truth, boxes).nan_to_num(0.0)  # of two boxes without area: 0 / 0
    overlap, index = (
        ious.max(dim=0) if len(boxes) else (ious.new_empty(0), ious.new_empty(0, dtype=torch.int64))
    )
    matched = torch.where(
        overlap >= positive, index, torch.where(overlap < negative, BACKGROUND, IGNORED)
    )
    if best is None or not len(boxes):
        return matched

    highest = ious.max(dim=1, keepdim=True).values
    true_box, box = ((ious == highest) & (highest >= best)).nonzero(as_tuple=True)
    claimed = torch.full_like(matched, BACKGROUND).scatter_reduce_(0, box, true_box, "amax")
    return torch.where(claimed >= 0, claimed, matched)


def clip(boxes: Sequence[Tensor], sizes: Sequence[Size]) -> list[Tensor]:
    """Return the boxes of each image, (..., 4), cut at the edges of its valid part (height,
    width).
    """
    return [
        clip_boxes_to_image(image_boxes, size)
        for image_boxes, size in zip(boxes, sizes, strict=True)
    ]
