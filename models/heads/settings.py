"""The numbers of the heads; defaults are those of the authors' configurations (paper, sections 4.3
and 4.4).

Imports no torch: the recipes of the tasks take their defaults from here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProposalSettings:
    """The region proposal network.

    Attributes:
        anchor_scale: side of a square anchor in units of its map's stride.
        anchor_ratios: height / width of the anchors at every position.
        smooth_l1_beta: where the box loss turns from quadratic to linear.
        sampled: anchors an image that the losses look at.
        positive_fraction: how many of them may be positive.
        positive_iou: from here on an anchor stands for the box that it overlaps most.
        negative_iou: below it an anchor is background; in between it is ignored.
        best_iou: from here on the anchors that a box overlaps most stand for it, whatever they
            overlap more.
        nms_iou: of two proposals of one level that overlap more, the better remains.
        kept_train: proposals of a level before suppression, and of an image after it, in training.
        kept_test: the same at test.
    """

    anchor_scale: int = 8
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    smooth_l1_beta: float = 1 / 9
    sampled: int = 256
    positive_fraction: float = 0.5
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    best_iou: float = 0.3
    nms_iou: float = 0.7
    kept_train: int = 2000
    kept_test: int = 1000


@dataclass(frozen=True)
class CascadeSettings:
    """The feature pyramid, and the box and mask heads of the three stages.

    Attributes:
        fpn_channels: width of the pyramid, and of the convolutions in all heads.
        ious: overlap from which on a region counts as an object, by stage.
        loss_weights: what the losses of a stage count.
        box_convs: 3x3 convolutions of a box head.
        box_hidden: width of its one hidden layer.
        region_size: side of the map that a box head sees.
        giou_weight: what the box loss counts against the class loss.
        box_stds: by stage, what one unit of a predicted (x, y, width, height) means.
        mask_convs: 3x3 convolutions of a mask head.
        mask_size: side of the predicted masks, even; the head sees half of it.
        regions: sampled regions an image and stage.
        positive_fraction: how many of them may be objects.
        score_threshold: detections with less are dropped.
        nms_iou: of two detections of one class that overlap more, the better remains.
        detections: the most that an image gets.
    """

    fpn_channels: int = 256
    ious: tuple[float, float, float] = (0.5, 0.6, 0.7)
    loss_weights: tuple[float, float, float] = (1.0, 0.5, 0.25)
    box_convs: int = 4
    box_hidden: int = 1024
    region_size: int = 7
    giou_weight: float = 10.0
    box_stds: tuple[tuple[float, float, float, float], ...] = (
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    )
    mask_convs: int = 4
    mask_size: int = 28
    regions: int = 512
    positive_fraction: float = 0.25
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    detections: int = 100

    def __post_init__(self) -> None:
        """Raise `ValueError` for an odd mask size, and for stages that are not three."""
        if self.mask_size % 2:
            raise ValueError(
                f"mask_size must be even, not {self.mask_size}: the head doubles the map that "
                "it sees"
            )
        if {len(self.ious), len(self.loss_weights), len(self.box_stds)} != {3}:
            raise ValueError(
                "ious, loss_weights and box_stds have three entries each, one for each stage"
            )


@dataclass(frozen=True)
class UPerNetSettings:
    """UPerNet and its auxiliary head.

    Attributes:
        channels: width of the head.
        pool_scales: sides of the grids that pyramid pooling averages the last map over.
        dropout: rate of channels dropped in front of both classifiers.
        auxiliary_channels: width of the auxiliary head on the third map.
        auxiliary_convs: its 3x3 convolutions.
        auxiliary_weight: what its loss counts.
    """

    channels: int = 512
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    auxiliary_channels: int = 256
    auxiliary_convs: int = 1
    auxiliary_weight: float = 0.4
