"""Masks: the targets of a region, and predictions put back into an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align

from models.heads.boxes import Size

AT_ONCE = 2**24
"""Values of a full-size mask that are held at a time: 64 MB."""


def mask_targets(masks: Tensor, index: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cuts regions out of true masks.

    Args:
        masks: (N, H, W) uint8 or bool.
        index: (R,) which mask each region looks at.
        boxes: (R, 4) in pixels.
        size: side of the result.

    Returns:
        (R, size, size) float32, 1 where at least half of a cell is covered, else 0.
    """
    cut = boxes.new_empty((len(boxes), 1, size, size), dtype=torch.float32)
    few = max(1, AT_ONCE // max(1, masks.shape[-2] * masks.shape[-1]))

    for start in range(0, len(boxes), few):
        chunk = slice(start, start + few)
        truth = masks[index[chunk]].unsqueeze(1).float()
        number = torch.arange(len(truth), device=boxes.device).unsqueeze(1)
        regions = torch.cat((number.to(boxes.dtype), boxes[chunk]), dim=1)
        cut[chunk] = roi_align(truth, regions, size, sampling_ratio=0, aligned=True)

    return (cut.squeeze(1) >= 0.5).float()


def paste(masks: Tensor, boxes: Tensor, size: Size, threshold: float = 0.5) -> Tensor:
    """Put predicted masks into an image, interpolated bilinearly between the centres of their
    cells.

    torchvision's function of this kind rounds boxes to whole pixels.

    Args:
        masks: (K, S, S) probabilities.
        boxes: (K, 4) in pixels of that image.
        size: (height, width) of the image.
        threshold: from which probability on a pixel belongs to the instance.

    Returns:
        (K, height, width) bool.
    """
    pasted = torch.zeros((len(masks), *size), dtype=torch.bool, device=masks.device)
    few = max(1, AT_ONCE // max(1, size[0] * size[1]))

    for start in range(0, len(masks), few):
        chunk = slice(start, start + few)
        x1, y1, x2, y2 = boxes[chunk].float().unbind(-1)
        rows = _weights(y1, y2, size[0], masks.shape[-2])
        columns = _weights(x1, x2, size[1], masks.shape[-1])
        pasted[chunk] = rows @ masks[chunk].float() @ columns.transpose(1, 2) >= threshold

    return pasted


def _weights(start: Tensor, end: Tensor, pixels: int, cells: int) -> Tensor:
    """Return what each of S cells between start and end (K,) gives to each pixel of an axis: (K,
    pixels, S).
    """
    centres = torch.arange(pixels, device=start.device) + 0.5
    position = (centres - start.unsqueeze(1)) / (end - start).unsqueeze(1) * cells - 0.5
    distance = (position.unsqueeze(2) - torch.arange(cells, device=start.device)).abs()
    # for a box without extent 0 or NaN, and neither is above a threshold
    return (1 - distance).clamp(min=0)
