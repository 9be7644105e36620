"""The section `detect` of params.yaml; defaults are the paper's numbers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

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

    anchor_scale: Positive = 8
    """Side of an anchor, in strides of its level."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Heights of anchors, in widths."""
    smooth_l1_beta: Annotated[float, Field(gt=0)] = 1 / 9
    """Where the box loss turns from square to linear."""
    sampled: Positive = 256
    """Anchors of an image in the loss."""
    positive_fraction: Fraction = 0.5
    """Most of them that are positive."""
    positive_iou: Fraction = 0.7
    """Least IoU of a positive anchor."""
    negative_iou: Fraction = 0.3
    """IoU below which an anchor is negative."""
    best_iou: Fraction = 0.3
    """Least IoU of an object's best anchor, which is then positive."""
    nms_iou: Fraction = 0.7
    """IoU from which proposals are duplicates."""
    kept_train: Positive = 2000
    """Proposals of an image in training."""
    kept_test: Positive = 1000
    """Proposals of an image in evaluation."""


class Cascade(Section):
    """The three box stages and the mask head of Cascade Mask R-CNN."""

    fpn_channels: Positive = 256
    """Channels of the feature pyramid."""
    ious: tuple[Fraction, Fraction, Fraction] = (0.5, 0.6, 0.7)
    """Least IoU of a positive region, by stage."""
    loss_weights: tuple[float, float, float] = (1.0, 0.5, 0.25)
    """Weight of each stage's loss."""
    box_convs: Positive = 4
    """Convolutions of a box head."""
    box_hidden: Positive = 1024
    """Hidden units of a box head."""
    region_size: Positive = 7
    """Side of a region's features, cells."""
    giou_weight: Annotated[float, Field(gt=0)] = 10.0
    """Weight of the box loss."""
    box_stds: tuple[tuple[float, float, float, float], ...] = (
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    )
    """Scales of x, y, width and height, by stage."""
    mask_convs: Positive = 4
    """Convolutions of the mask head."""
    mask_size: Positive = 28
    """Side of a mask, cells."""
    regions: Positive = 512
    """Regions of an image in the loss."""
    positive_fraction: Fraction = 0.25
    """Most of them that are positive."""
    score_threshold: Fraction = 0.05
    """Least score of a detection."""
    nms_iou: Fraction = 0.5
    """IoU from which detections are duplicates."""
    detections: Positive = 100
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
