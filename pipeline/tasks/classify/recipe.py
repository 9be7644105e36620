"""The section `classify` of params.yaml; defaults are the paper's numbers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.folders import DatasetName
from pipeline.params.recipes import IMAGE_SIZE, BaseRecipe, Usage
from pipeline.params.section import Fraction, Section
from pipeline.params.tasks import Task

RAND_AUGMENT = r"^rand(-(m\d+|mstd(\d*\.)?\d+|mmax\d+|n\d|p(\d*\.)?\d+|inc[01]|t(weights|3aw?)))*$"


class Augment(Section):
    """Training augmentation of classification, in the paper's numbers unless said otherwise.

    `rand_augment` is a policy in timm's words: `rand`, then sections for the magnitude (`m9`), its
    deviation (`mstd0.5`) and limit (`mmax20`), layers (`n2`), probability (`p0.5`), operations that
    grow with it (`inc1`) and the set of operations (`tweights`, `t3a`, `t3aw`).
    """

    crop_scale: tuple[Fraction, Fraction] = (0.08, 1.0)
    """Least and largest part of the image's area in a crop."""
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    """Least and largest width of a crop, in heights."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    """How images are resized."""
    flip: Fraction = 0.5
    """Probability of a mirror image."""
    rand_augment: Annotated[str, Field(pattern=RAND_AUGMENT)] | None = "rand-m9-mstd0.5-inc1"
    """Policy in timm's words, e.g. rand-m9-mstd0.5-inc1; null: none."""
    color_jitter: Fraction = 0.4
    """Strength of brightness, contrast and saturation, without rand_augment."""
    erasing: Fraction = 0.25
    """Probability that a rectangle is erased."""
    mixup: Annotated[float, Field(ge=0)] = 0.8
    """Alpha of mixup; 0: none."""
    cutmix: Annotated[float, Field(ge=0)] = 1.0
    """Alpha of cutmix; 0: none."""
    mix_prob: Fraction = 1.0
    """Probability that a micro-batch is mixed."""
    switch_prob: Fraction = 0.5
    """Probability of cutmix where both are possible."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of a label that goes to all classes."""

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse ranges whose ends are swapped."""
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} needs 0 < low <= high, got [{low}, {high}]")
        return self


class Recipe(BaseRecipe):
    """Classification: square crops of `image_size`; evaluation resizes the short side to
    `eval_resize` first.
    """

    image_size: Annotated[int, Field(ge=32)] = IMAGE_SIZE
    """Side of the square images, pixels."""
    eval_resize: Annotated[int, Field(ge=32)] = 256
    """Short side before the centre crop of evaluation, pixels."""
    augment: Augment = Augment()
    group_by_shape: Literal[False] = False  # all its images are of one size

    @property
    def network_size(self) -> int:
        """The side of the crops."""
        return self.image_size

    @property
    def usage(self) -> Usage:
        """A classifier of centre crops."""
        transform = {
            "kind": "crop",
            "resize": self.eval_resize,
            "crop": self.image_size,
            "interpolation": self.augment.interpolation,
        }
        return Usage("classifier", transform, fixed_size=self.image_size)

    @model_validator(mode="after")
    def agree(self) -> Self:
        """Check fields against each other."""
        if self.eval_resize < self.image_size:
            raise ValueError(
                f"eval_resize {self.eval_resize} is smaller than image_size {self.image_size}"
            )
        return self


class Classify(Task):
    """ImageNet classification."""

    dataset: DatasetName = "imagenet"
    recipe: Recipe = Recipe()
