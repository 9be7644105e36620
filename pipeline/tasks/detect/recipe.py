"""The section `detect` of params.yaml; defaults are the paper's numbers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from models.heads import CASCADE, PROPOSALS
from pipeline.params.folders import DatasetName
from pipeline.params.recipes import BaseRecipe, Usage
from pipeline.params.section import Fraction, Positive, Section
from pipeline.params.tasks import Task

Sides = Annotated[tuple[Positive, ...], Field(min_length=1)]


class DetectAugment(Section):
    """Two policies at random: multi-scale resize, or resize, crop, then multi-scale resize.

    Sides in pixels.
    """

    flip: Fraction = 0.5
    """Probability of a mirror image."""
    short_sides: Sides = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    """Short sides to draw from, pixels."""
    long_side: Positive = 1333
    """Longest side, pixels."""
    crop_short_sides: Sides = (400, 500, 600)
    """Short sides before a crop, pixels."""
    crop: tuple[Positive, Positive] = (384, 600)
    """Least and largest side of a crop, pixels."""
    pad_to: Positive = 32
    """Sides are padded to a multiple of it, pixels."""

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse a range whose ends are swapped."""
        if self.crop[0] > self.crop[1]:
            raise ValueError(f"crop needs low <= high, got {list(self.crop)}")
        return self


class Proposals(Section):
    """The region proposal network: anchors, sampling and non-maximum suppression."""

    anchor_scale: Positive = PROPOSALS.anchor_scale
    """Side of an anchor, in strides of its level."""
    anchor_ratios: tuple[float, ...] = PROPOSALS.anchor_ratios
    """Heights of anchors, in widths."""
    smooth_l1_beta: Annotated[float, Field(gt=0)] = PROPOSALS.smooth_l1_beta
    """Where the box loss turns from square to linear."""
    sampled: Positive = PROPOSALS.sampled
    """Anchors of an image in the loss."""
    positive_fraction: Fraction = PROPOSALS.positive_fraction
    """Most of them that are positive."""
    positive_iou: Fraction = PROPOSALS.positive_iou
    """Least IoU of a positive anchor."""
    negative_iou: Fraction = PROPOSALS.negative_iou
    """IoU below which an anchor is negative."""
    best_iou: Fraction = PROPOSALS.best_iou
    """Least IoU of an object's best anchor, which is then positive."""
    nms_iou: Fraction = PROPOSALS.nms_iou
    """IoU from which proposals are duplicates."""
    kept_train: Positive = PROPOSALS.kept_train
    """Proposals of an image in training."""
    kept_test: Positive = PROPOSALS.kept_test
    """Proposals of an image in evaluation."""


class Cascade(Section):
    """The three box stages and the mask head of Cascade Mask R-CNN."""

    fpn_channels: Positive = CASCADE.fpn_channels
    """Channels of the feature pyramid."""
    ious: tuple[Fraction, Fraction, Fraction] = CASCADE.ious
    """Least IoU of a positive region, by stage."""
    loss_weights: tuple[float, float, float] = CASCADE.loss_weights
    """Weight of each stage's loss."""
    box_convs: Positive = CASCADE.box_convs
    """Convolutions of a box head."""
    box_hidden: Positive = CASCADE.box_hidden
    """Hidden units of a box head."""
    region_size: Positive = CASCADE.region_size
    """Side of a region's features, cells."""
    giou_weight: Annotated[float, Field(gt=0)] = CASCADE.giou_weight
    """Weight of the box loss."""
    box_stds: tuple[tuple[float, float, float, float], ...] = CASCADE.box_stds
    """Scales of x, y, width and height, by stage."""
    mask_convs: Positive = CASCADE.mask_convs
    """Convolutions of the mask head."""
    mask_size: Positive = CASCADE.mask_size
    """Side of a mask, cells."""
    regions: Positive = CASCADE.regions
    """Regions of an image in the loss."""
    positive_fraction: Fraction = CASCADE.positive_fraction
    """Most of them that are positive."""
    score_threshold: Fraction = CASCADE.score_threshold
    """Least score of a detection."""
    nms_iou: Fraction = CASCADE.nms_iou
    """IoU from which detections are duplicates."""
    detections: Positive = CASCADE.detections
    """Most detections of an image."""
    test_sides: tuple[Positive, Positive] = (800, 1333)
    """Short and long side in evaluation, pixels."""


class DetectRecipe(BaseRecipe):
    """Detection and instance segmentation with Cascade Mask R-CNN, from the classification variant
    of the same name.
    """

    init_from: str | None = "classify"
    augment: DetectAugment = DetectAugment()
    proposals: Proposals = Proposals()
    cascade: Cascade = Cascade()
    group_by_shape: bool = True

    @property
    def usage(self) -> Usage:
        """A detector of whole pictures."""
        sides = list(self.cascade.test_sides)
        heads = {
            "proposals": self.proposals.model_dump(mode="json"),
            "cascade": self.cascade.model_dump(mode="json", exclude={"test_sides"}),
        }
        transform = {"kind": "fit", "sides": sides, "multiple": self.augment.pad_to}
        return Usage("detector", transform, heads)


class Detect(Task):
    """COCO detection and instance segmentation."""

    dataset: DatasetName = "coco"
    recipe: DetectRecipe = DetectRecipe()
