"""Regions: cut out of a feature pyramid, and sampled for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.ops import box_area, roi_align

from models.heads.backbones import STRIDES
from models.heads.boxes import BACKGROUND, match

FINEST = 56
"""Regions below twice this side, in pixels, are cut out of the finest map, those up to twice that
out of the next.
"""


def pool(maps: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """RoIAlign from the level that fits a region's size.

    torchvision's `MultiScaleRoIAlign` leaves out the shift by half a pixel that makes the cut
    exact, and guesses the strides from the first image that it sees.

    Args:
        maps: at least four (B, C, H_i, W_i) at strides 4 to 32.
        boxes: (R_b, 4) in pixels for each of the B images.
        size: side of the result.

    Returns:
        (sum of R_b, C, size, size) float32, image after image.
    """
    every = torch.cat(list(boxes))
    image = torch.cat(
        [
            image_boxes.new_full((len(image_boxes), 1), number)
            for number, image_boxes in enumerate(boxes)
        ]
    )
    regions = torch.cat((image, every), dim=1)
    level = (box_area(every).sqrt() / FINEST + 1e-6).log2().floor().clamp(0, len(STRIDES) - 1)
    pooled = maps[0].new_zeros((len(every), maps[0].shape[1], size, size), dtype=torch.float32)

    for number, (values, stride) in enumerate(zip(maps, STRIDES, strict=False)):
        here = (level == number).nonzero().squeeze(1)
        pooled[here] = roi_align(
            values.float(), regions[here], size, 1 / stride, sampling_ratio=0, aligned=True
        )

    return pooled


class SampledRegions(NamedTuple):
    """The regions of an image that a stage trains on.

    Attributes:
        boxes: (R, 4).
        matched: (R,) index of the true box that each stands for, or `BACKGROUND`.
        added: (R,) bool, whether it is a true box itself.
    """

    boxes: Tensor
    matched: Tensor
    added: Tensor

    @property
    def positive(self) -> Tensor:
        """(R,) bool, whether it stands for a true box."""
        return self.matched != BACKGROUND


def sample(
    proposals: Tensor, truth: Tensor, iou: float, sampler: BalancedPositiveNegativeSampler
) -> SampledRegions:
    """Draws regions from proposals (P, 4) and the true boxes (N, 4), which are added to them.

    A proposal is an object if it overlaps a true box by `iou`. The draw comes from torch's global
    generator.
    """
    indices = torch.arange(len(truth), device=truth.device)
    boxes = torch.cat((truth, proposals))
    matched = torch.cat((indices, match(proposals, truth, iou, iou)))
    # The sampler takes 0 for background and more for objects: the match plus 1.
    positive, negative = sampler([matched + 1])
    chosen = torch.cat((positive[0].nonzero(), negative[0].nonzero())).squeeze(1)
    return SampledRegions(boxes[chosen], matched[chosen], chosen < len(truth))
