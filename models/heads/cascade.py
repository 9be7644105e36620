"""Box and mask heads of the cascade's stages (arXiv 1712.00726), and how the stages follow each
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import batched_nms, generalized_box_iou_loss

from models.heads.boxes import Size, clip, decode
from models.heads.masks import mask_targets
from models.heads.regions import SampledRegions, pool, sample
from models.heads.settings import CascadeSettings


class BoxHead(nn.Module):
    """Convolutions with batch norm, one hidden layer, then scores and a box for each class."""

    def __init__(self, num_classes: int, settings: CascadeSettings) -> None:
        """`num_classes` is C, without the background."""
        super().__init__()
        width = settings.fpn_channels
        side = settings.region_size
        self.features = FastRCNNConvFCHead(
            (width, side, side),
            [width] * settings.box_convs,
            [settings.box_hidden],
            norm_layer=nn.BatchNorm2d,
        )

        self.scores = nn.Linear(settings.box_hidden, num_classes + 1)
        self.offsets = nn.Linear(settings.box_hidden, 4 * num_classes)

        for layer in self.features:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer, std in ((self.scores, 0.01), (self.offsets, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """(R, channels, side, side) -> logits (R, C + 1), background last, and offsets (R, C, 4);
        float32.
        """
        x = self.features(regions)
        return self.scores(x).float(), self.offsets(x).unflatten(1, (-1, 4)).float()


class MaskHead(nn.Sequential):
    """Convolutions, a transposed one that doubles the map, then a mask for each class."""

    def __init__(self, num_classes: int, settings: CascadeSettings) -> None:
        """(R, channels, side, side) -> logits (R, C, 2 * side, 2 * side)."""
        width = settings.fpn_channels
        predictor = MaskRCNNPredictor(width, width, num_classes)
        for name, bias in predictor.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(bias)
        super().__init__(MaskRCNNHeads(width, [width] * settings.mask_convs, dilation=1), predictor)


class CascadeHeads(nn.Module):
    """Three box heads, each on the boxes that the one before has moved, and three mask heads."""

    def __init__(self, num_classes: int, settings: CascadeSettings) -> None:
        """`num_classes` is C, without the background."""
        super().__init__()
        self.num_classes = num_classes
        self.settings = settings
        self.box_heads = nn.ModuleList(BoxHead(num_classes, settings) for _ in settings.ious)
        self.mask_heads = nn.ModuleList(MaskHead(num_classes, settings) for _ in settings.ious)

    def losses(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[Size],
        targets: Sequence[Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Weighted losses of all stages: `class_N`, `box_N` and `mask_N` for N = 1, 2, 3.

        Args:
            maps: four or more (B, channels, H_i, W_i).
            proposals: (P, 4) of each image.
            sizes: (height, width) of each image's valid part.
            targets: `boxes` (N, 4), `labels` (N,) and `masks` (N, H, W) of each image; boxes have
                an area. `masked` (N,) bool, where it is there, says which objects have a mask.
        """
        settings = self.settings
        by_stage = {}
        sampler = BalancedPositiveNegativeSampler(settings.regions, settings.positive_fraction)

        for stage, (weight, iou) in enumerate(
            zip(settings.loss_weights, settings.ious, strict=True)
        ):
            regions = [
                sample(p, t["boxes"], iou, sampler) for p, t in zip(proposals, targets, strict=True)
            ]
            labels = [self._labels(r, t["labels"]) for r, t in zip(regions, targets, strict=True)]
            scores, offsets = self.box_heads[stage](
                pool(maps, [r.boxes for r in regions], settings.region_size)
            )
            losses = {
                "class": F.cross_entropy(scores, torch.cat(labels)),
                "box": settings.giou_weight
                * self._box_loss(stage, regions, labels, offsets, targets),
                "mask": self._mask_loss(stage, maps, regions, labels, targets),
            }
            by_stage.update({f"{kind}_{stage + 1}": weight * loss for kind, loss in losses.items()})
            with torch.no_grad():
                proposals = self._refine(stage, regions, torch.cat(labels), scores, offsets, sizes)

        return by_stage

    def _labels(self, regions: SampledRegions, labels: Tensor) -> Tensor:
        """(R,) class of each region, C for the background."""
        classes = torch.full_like(regions.matched, self.num_classes)
        classes[regions.positive] = labels[regions.matched[regions.positive]]

        return classes

    def _box_loss(
        self,
        stage: int,
        regions: Sequence[SampledRegions],
        labels: Sequence[Tensor],
        offsets: Tensor,
        targets: Sequence[Mapping[str, Tensor]],
    ) -> Tensor:
        """GIoU loss of the objects' boxes for their class, over the number of all regions."""
        positive = torch.cat([r.positive for r in regions])
        label = torch.cat(list(labels))
        boxes = torch.cat([r.boxes for r in regions])[positive]
        truth = [t["boxes"][r.matched[r.positive]] for r, t in zip(regions, targets, strict=True)]

        moved = decode(boxes, offsets[positive, label[positive]], self.settings.box_stds[stage])
        loss: Tensor = generalized_box_iou_loss(moved, torch.cat(truth), reduction="sum") / len(
            positive
        )
        return loss

    def _mask_loss(
        self,
        stage: int,
        maps: Sequence[Tensor],
        regions: Sequence[SampledRegions],
        labels: Sequence[Tensor],
        targets: Sequence[Mapping[str, Tensor]],
    ) -> Tensor:
        """Mean binary cross-entropy of the objects' masks for their class; objects without a mask
        are left out.
        """
        size = self.settings.mask_size
        drawn = [_with_mask(r, t) for r, t in zip(regions, targets, strict=True)]
        boxes = [r.boxes[chosen] for r, chosen in zip(regions, drawn, strict=True)]
        label = torch.cat(
            [image_labels[chosen] for image_labels, chosen in zip(labels, drawn, strict=True)]
        )

        expected = torch.cat(
            [
                mask_targets(t["masks"], r.matched[chosen], image_boxes, size)
                for t, r, image_boxes, chosen in zip(targets, regions, boxes, drawn, strict=True)
            ]
        )

        predicted = self._masks(stage, pool(maps, boxes, size // 2), label)
        return F.binary_cross_entropy_with_logits(predicted, expected, reduction="sum") / max(
            1, expected.numel()
        )

    def _masks(self, stage: int, regions: Tensor, labels: Tensor) -> Tensor:
        """Mask logits (R, size, size) of each region's class, float32."""
        logits: Tensor = self.mask_heads[stage](regions)
        return logits[torch.arange(len(labels), device=labels.device), labels].float()

    def _refine(
        self,
        stage: int,
        regions: Sequence[SampledRegions],
        labels: Tensor,
        scores: Tensor,
        offsets: Tensor,
        sizes: Sequence[Size],
    ) -> list[Tensor]:
        """Return the next stage's proposals: moved for the true class, background for the
        likeliest; no true boxes.
        """
        labels = torch.where(labels == self.num_classes, scores[:, :-1].argmax(dim=1), labels)
        moved = self._move(stage, [r.boxes for r in regions], labels, offsets, sizes)
        return [image_boxes[~r.added] for image_boxes, r in zip(moved, regions, strict=True)]

    def _move(
        self,
        stage: int,
        boxes: Sequence[Tensor],
        labels: Tensor,
        offsets: Tensor,
        sizes: Sequence[Size],
    ) -> list[Tensor]:
        """Boxes of each image after a stage's offsets for one class each, clipped."""
        chosen = offsets[torch.arange(len(labels), device=labels.device), labels]
        moved = decode(torch.cat(list(boxes)), chosen, self.settings.box_stds[stage])
        return clip(moved.split([len(image_boxes) for image_boxes in boxes]), sizes)

    def detect(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[Size]
    ) -> list[dict[str, Tensor]]:
        """Return detections of each image, see `Detector.forward`; arguments as for `losses`.

        Class logits are averaged over the stages, boxes are those of the last one.
        """
        boxes = list(proposals)
        logits = []
        last = len(self.box_heads) - 1

        for stage, head in enumerate(self.box_heads):
            scores, offsets = head(pool(maps, boxes, self.settings.region_size))
            logits.append(scores)
            if stage < last:
                boxes = self._move(stage, boxes, scores[:, :-1].argmax(dim=1), offsets, sizes)

        numbers = [len(image_boxes) for image_boxes in boxes]
        # Logits are averaged, not probabilities, as in mmdetection.
        likely = torch.stack(logits).mean(dim=0).softmax(dim=1)[:, :-1]
        moved = decode(torch.cat(boxes).unsqueeze(1), offsets, self.settings.box_stds[last])
        detections = [
            self._best(image_boxes, probability)
            for image_boxes, probability in zip(
                clip(moved.split(numbers), sizes), likely.split(numbers), strict=True
            )
        ]

        self._add_masks(maps, detections)
        return detections

    def _best(self, boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """Return the detections of an image from boxes (R, C, 4) and scores (R, C), best first."""
        region, label = (scores > self.settings.score_threshold).nonzero(as_tuple=True)
        boxes = boxes[region, label]
        scores = scores[region, label]
        kept = batched_nms(boxes, scores, label, self.settings.nms_iou)[: self.settings.detections]
        return {"boxes": boxes[kept], "labels": label[kept], "scores": scores[kept]}

    def _add_masks(self, maps: Sequence[Tensor], detections: Sequence[dict[str, Tensor]]) -> None:
        """Add `masks`, the mean of the mask heads' probabilities."""
        regions = pool(
            maps, [detection["boxes"] for detection in detections], self.settings.mask_size // 2
        )
        labels = torch.cat([detection["labels"] for detection in detections])
        stages = [
            self._masks(stage, regions, labels).sigmoid() for stage in range(len(self.mask_heads))
        ]
        masks = (
            torch.stack(stages)
            .mean(dim=0)
            .split([len(detection["boxes"]) for detection in detections])
        )

        for detection, predicted in zip(detections, masks, strict=True):
            detection["masks"] = predicted

    def fixed_work(self, like: Tensor, regions: int, detections: int) -> None:
        """Run the heads on as many empty regions and detections, of the type and device of
        `like`.
        """
        settings = self.settings
        for heads, number, side in (
            (self.box_heads, regions, settings.region_size),
            (self.mask_heads, detections, settings.mask_size // 2),
        ):
            for head in heads:
                head(like.new_zeros((number, settings.fpn_channels, side, side)))


def _with_mask(regions: SampledRegions, target: Mapping[str, Tensor]) -> Tensor:
    """(R,) bool: regions on an object that has a mask."""
    if "masked" not in target:
        return regions.positive
    chosen = regions.positive
    chosen[regions.positive] = target["masked"][regions.matched[regions.positive]]
    return chosen
