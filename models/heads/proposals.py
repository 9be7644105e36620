"""The region proposal network (arXiv 1506.01497), one head over all levels of a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import batched_nms, clip_boxes_to_image

from models.heads.boxes import IGNORED, Size, decode, encode, match
from models.heads.settings import ProposalSettings

STRIDES = (4, 8, 16, 32, 64)


def make_anchors(
    shapes: Sequence[Size], settings: ProposalSettings, device: torch.device
) -> list[Tensor]:
    """Anchors (H*W*A, 4) of each level, from the (height, width) of its map: centred at multiples
    of the stride.

    torchvision's generator guesses the stride from the sides of image and map, which fails for
    sides that 64 does not divide, and rounds the anchors to whole pixels.
    """
    roots = torch.tensor(settings.anchor_ratios, device=device).sqrt()
    levels = []
    for (height, width), stride in zip(shapes, STRIDES, strict=True):
        half_width, half_height = (
            0.5 * settings.anchor_scale * stride * factor for factor in (1 / roots, roots)
        )
        shapes_here = torch.stack((-half_width, -half_height, half_width, half_height), dim=-1)
        y, x = torch.meshgrid(
            *(torch.arange(n, device=device) * stride for n in (height, width)), indexing="ij"
        )
        centres = torch.stack((x, y, x, y), dim=-1).flatten(0, 1)
        levels.append((centres.unsqueeze(1) + shapes_here).flatten(0, 1))

    return levels


class ProposalNetwork(nn.Module):
    """Maps of a pyramid -> proposals, and with true boxes the two losses."""

    def __init__(self, channels: int, settings: ProposalSettings) -> None:
        """`channels` is the width of the pyramid."""
        super().__init__()
        self.settings = settings
        self.head = RPNHead(channels, len(settings.anchor_ratios))

    def forward(
        self, maps: Sequence[Tensor], sizes: Sequence[Size], truth: Sequence[Tensor] | None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposes regions.

        Args:
            maps: five (B, C, H_i, W_i) at strides 4 to 64.
            sizes: (height, width) of each image's valid part.
            truth: the true boxes (N, 4) of each image, in training.

        Returns:
            Proposals (P, 4) of each image, clipped, best first and at least one; one that was
            clipped at both sides has no area, and stays (mmdetection 2.11). Losses, none without
            `truth`.
        """
        scores, offsets = self.head(list(maps))
        scores = [level.permute(0, 2, 3, 1).flatten(1).float() for level in scores]
        offsets = [
            level.permute(0, 2, 3, 1).reshape(len(level), -1, 4).float() for level in offsets
        ]

        anchors = make_anchors(
            [(m.shape[-2], m.shape[-1]) for m in maps], self.settings, scores[0].device
        )
        losses = {} if truth is None else self._losses(scores, offsets, anchors, sizes, truth)
        kept = self.settings.kept_test if truth is None else self.settings.kept_train

        with torch.no_grad():
            proposals = [
                self._propose([s[i] for s in scores], [o[i] for o in offsets], anchors, size, kept)
                for i, size in enumerate(sizes)
            ]

        return proposals, losses

    def _propose(
        self,
        scores: list[Tensor],
        offsets: list[Tensor],
        anchors: list[Tensor],
        size: Size,
        kept: int,
    ) -> Tensor:
        """Return the proposals of one image: the best of each level, then suppression level by
        level.
        """
        best = [level.topk(min(kept, len(level))) for level in scores]
        boxes = torch.cat(
            [decode(a[top], o[top]) for (_, top), a, o in zip(best, anchors, offsets, strict=True)]
        )
        levels = torch.cat([torch.full_like(top, number) for number, (_, top) in enumerate(best)])

        # Diverged weights give numbers that are none, and no evaluator takes them.
        boxes = clip_boxes_to_image(boxes.nan_to_num(), size)
        score = torch.cat([values for values, _ in best])
        proposals: Tensor = boxes[batched_nms(boxes, score, levels, self.settings.nms_iou)[:kept]]
        return proposals

    def _losses(
        self,
        scores: list[Tensor],
        offsets: list[Tensor],
        anchors: list[Tensor],
        sizes: Sequence[Size],
        truth: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Objectness and boxes, both over the number of sampled anchors of the whole batch.

        An image without a positive anchor counts as if it had one, and so does one without a
        negative (mmdetection).
        """
        every = torch.cat(anchors)
        score = torch.cat(scores, dim=1)
        offset = torch.cat(offsets, dim=1)

        matched = torch.stack(
            [
                self._match(every, size, image_truth)
                for size, image_truth in zip(sizes, truth, strict=True)
            ]
        )

        sampler = BalancedPositiveNegativeSampler(
            self.settings.sampled, self.settings.positive_fraction
        )
        # The sampler takes 0 for background, -1 for ignored and more for objects: the match plus 1.
        positive, negative = (torch.stack(chosen).bool() for chosen in sampler(list(matched + 1)))
        sampled = positive | negative

        expected = [
            encode(every[p], image_truth[m[p]])
            for p, m, image_truth in zip(positive, matched, truth, strict=True)
        ]
        number = int(torch.stack((positive, negative)).sum(dim=2).clamp(min=1).sum())

        objectness = F.binary_cross_entropy_with_logits(
            score[sampled], positive[sampled].float(), reduction="sum"
        )
        boxes = F.smooth_l1_loss(
            offset[positive],
            torch.cat(expected),
            beta=self.settings.smooth_l1_beta,
            reduction="sum",
        )

        return {"rpn_objectness": objectness / number, "rpn_box": boxes / number}

    def _match(self, anchors: Tensor, size: Size, truth: Tensor) -> Tensor:
        """Match anchors that lie inside the image; the others are ignored, which torchvision does
        not do.
        """
        settings = self.settings
        height, width = size
        x1, y1, x2, y2 = anchors.unbind(-1)

        inside = (x1 >= 0) & (y1 >= 0) & (x2 < width) & (y2 < height)
        matched = torch.full((len(anchors),), IGNORED, device=anchors.device)
        matched[inside] = match(
            anchors[inside], truth, settings.positive_iou, settings.negative_iou, settings.best_iou
        )
        return matched
