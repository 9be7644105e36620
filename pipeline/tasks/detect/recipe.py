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
    short_sides: Sides = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    long_side: Positive = 1333
    crop_short_sides: Sides = (400, 500, 600)
    crop: tuple[Positive, Positive] = (384, 600)
    pad_to: Positive = 32

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse a range whose ends are swapped."""
        if self.crop[0] > self.crop[1]:
            raise ValueError(f"crop needs low <= high, got {list(self.crop)}")
        return self


class Proposals(Section):
    """The region proposal network: anchors, sampling and non-maximum suppression."""

    anchor_scale: Positive = 8
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    smooth_l1_beta: Annotated[float, Field(gt=0)] = 1 / 9
    sampled: Positive = 256
    positive_fraction: Fraction = 0.5
    positive_iou: Fraction = 0.7
    negative_iou: Fraction = 0.3
    best_iou: Fraction = 0.3
    nms_iou: Fraction = 0.7
    kept_train: Positive = 2000
    kept_test: Positive = 1000


class Cascade(Section):
    """The three box stages and the mask head of Cascade Mask R-CNN."""

    fpn_channels: Positive = 256
    ious: tuple[Fraction, Fraction, Fraction] = (0.5, 0.6, 0.7)
    loss_weights: tuple[float, float, float] = (1.0, 0.5, 0.25)
    box_convs: Positive = 4
    box_hidden: Positive = 1024
    region_size: Positive = 7
    giou_weight: Annotated[float, Field(gt=0)] = 10.0
    box_stds: tuple[tuple[float, float, float, float], ...] = (
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    )
    mask_convs: Positive = 4
    mask_size: Positive = 28
    regions: Positive = 512
    positive_fraction: Fraction = 0.25
    score_threshold: Fraction = 0.05
    nms_iou: Fraction = 0.5
    detections: Positive = 100
    test_sides: tuple[Positive, Positive] = (800, 1333)


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
