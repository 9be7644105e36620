"""The section `segment` of params.yaml; defaults are the paper's numbers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.heads import UPERNET
from pipeline.params.folders import DatasetName
from pipeline.params.recipes import BaseRecipe, Usage
from pipeline.params.section import Fraction, Positive, Section
from pipeline.params.tasks import Task


class SegmentAugment(Section):
    """Random rescale, a crop in which no class fills more than `category_ratio`, flip, photometric
    distortion.
    """

    resize: tuple[Positive, Positive] = (2048, 512)
    """Long and short side before `ratio`, pixels."""
    ratio: tuple[float, float] = (0.5, 2.0)
    """Least and largest factor of a rescaled image."""
    crop: tuple[Positive, Positive] = (512, 512)
    """Height and width of a crop, pixels."""
    category_ratio: Fraction = 0.75
    """Most of a crop that one class may fill."""
    flip: Fraction = 0.5
    """Probability of a mirror image."""
    photometric: bool = True
    """Distort brightness, contrast, saturation and hue."""

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse a range whose ends are swapped."""
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio needs 0 < low <= high, got {list(self.ratio)}")
        return self


class UPerNet(Section):
    """UPerNet with pyramid pooling and the auxiliary FCN head on the third stage.

    Evaluation averages over `test_scales` of the image at `test_sides`, and with `test_flip` over
    its mirror images.
    """

    channels: Positive = UPERNET.channels
    """Channels of the head."""
    pool_scales: tuple[Positive, ...] = UPERNET.pool_scales
    """Sides of the pooled maps, cells."""
    dropout: Fraction = UPERNET.dropout
    """Probability before the last layer."""
    auxiliary_channels: Positive = UPERNET.auxiliary_channels
    """Channels of the auxiliary head."""
    auxiliary_convs: Positive = UPERNET.auxiliary_convs
    """Convolutions of the auxiliary head."""
    auxiliary_weight: Annotated[float, Field(ge=0)] = UPERNET.auxiliary_weight
    """Weight of the auxiliary loss."""
    test_sides: tuple[Positive, Positive] = (2048, 512)
    """Long and short side in evaluation, pixels."""
    test_scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    """Factors of the image that evaluation averages over."""
    test_flip: bool = False
    """Average over mirror images too."""


class SegmentRecipe(BaseRecipe):
    """Semantic segmentation with UPerNet, from the classification variant of the same name."""

    init_from: str | None = "classify"
    augment: SegmentAugment = SegmentAugment()
    upernet: UPerNet = UPerNet()
    group_by_shape: Literal[False] = False  # all its crops are of one size

    @property
    def usage(self) -> Usage:
        """A segmenter of whole pictures, seen once: neither at other scales nor mirrored."""
        apart = {"test_sides", "test_scales", "test_flip"}
        heads = {"upernet": self.upernet.model_dump(mode="json", exclude=apart)}
        transform = {"kind": "fit", "sides": list(self.upernet.test_sides), "multiple": 1}
        return Usage("segmenter", transform, heads)


class Segment(Task):
    """ADE20K semantic segmentation."""

    dataset: DatasetName = "ade20k"
    recipe: SegmentRecipe = SegmentRecipe()
