"""The sections of params.yaml that say how a task trains: durations, optimizer, schedule,
augmentation, heads.

Defaults are the paper's numbers (arXiv 2106.04263 and the authors' released configurations).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.params.section import Fraction, Positive, Section

Sides = Annotated[tuple[Positive, ...], Field(min_length=1)]

Precision = Literal["none", "bf16", "fp16"]
"""Mixed precision: `none` is float32 throughout."""

RAND_AUGMENT = r"^rand(-(m\d+|mstd(\d*\.)?\d+|mmax\d+|n\d|p(\d*\.)?\d+|inc[01]|t(weights|3aw?)))*$"

CLASSIFY = "classify"
"""As a start: the published classification weights of the variant of the same name."""
IMAGE_SIZE = 224
"""The side of the images that a network is built for where nobody says another (ImageNet's)."""


class Duration(Section):
    """How long: `{epochs: 300}` or `{steps: 160000}`, exactly one of them."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Positive | None = None

    @model_validator(mode="after")
    def one_unit(self) -> Self:
        """Refuse both units, and neither."""
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("a duration is {epochs: N} or {steps: N}, one of the two")
        return self

    def in_steps(self, steps_per_epoch: int) -> int:
        """Resolve to optimizer steps."""
        return self.steps if self.steps is not None else round((self.epochs or 0) * steps_per_epoch)


def _none(value: Any) -> Any:
    """Take a duration of nothing for none."""
    return None if value in ({"steps": 0}, {"epochs": 0}) else value


class Optimizer(Section):
    """AdamW without decay on 1-D parameters, biases and positions; `lr` is the peak at `lr_batch`
    images a step.
    """

    lr: Annotated[float, Field(gt=0)] = 5e-4
    lr_batch: Positive | None = 512
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    clip_grad: Annotated[float, Field(gt=0)] | None = 5.0
    no_decay: Literal["1d_and_bias", "norm_names"] = "1d_and_bias"


class Schedule(Section):
    """Learning rate over steps; `warmup_lr` and `min_lr` scale with the batch as `lr` does.

    `warmup: null` is none.
    """

    kind: Literal["cosine", "multistep", "poly"] = "cosine"
    warmup: Annotated[Duration | None, BeforeValidator(_none)] = Duration(epochs=20)
    warmup_lr: Annotated[float, Field(ge=0)] = 5e-7
    min_lr: Annotated[float, Field(ge=0)] = 5e-6
    milestones: tuple[Duration, ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    power: Annotated[float, Field(gt=0)] = 1.0

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """Return how many optimizer steps warm up."""
        return self.warmup.in_steps(steps_per_epoch) if self.warmup is not None else 0


class Augment(Section):
    """Training augmentation of classification, in the paper's numbers unless said otherwise.

    `rand_augment` is a policy in timm's words: `rand`, then sections for the magnitude (`m9`), its
    deviation (`mstd0.5`) and limit (`mmax20`), layers (`n2`), probability (`p0.5`), operations that
    grow with it (`inc1`) and the set of operations (`tweights`, `t3a`, `t3aw`).
    """

    crop_scale: tuple[Fraction, Fraction] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    flip: Fraction = 0.5
    rand_augment: Annotated[str, Field(pattern=RAND_AUGMENT)] | None = "rand-m9-mstd0.5-inc1"
    color_jitter: Fraction = 0.4
    erasing: Fraction = 0.25
    mixup: Annotated[float, Field(ge=0)] = 0.8
    cutmix: Annotated[float, Field(ge=0)] = 1.0
    mix_prob: Fraction = 1.0
    switch_prob: Fraction = 0.5
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """Refuse ranges whose ends are swapped."""
        for name in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} needs 0 < low <= high, got [{low}, {high}]")
        return self


class BaseRecipe(Section):
    """What the recipes of all tasks have in common; besides the model and the data it decides a
    run's result.

    A micro-batch is what batch norm and mixing see (the paper's images per GPU); `micro_batches` of
    them make the global batch of one optimizer step, whatever the number of ranks. `evaluate_on:
    train` shows whether a network can learn its own training samples at all; it says nothing about
    others. `hold_out` keeps that part of the training samples out of training; `evaluate_on:
    held_out` judges by it, so that `val` stays unseen while choosing.

    `sync_bn` gives the batch norms the statistics of the whole global batch, on GPUs and with one
    rank a micro-batch; on a CPU they keep those of their micro-batch. `frozen_bn` keeps the
    backbone's running statistics as `init_from` has them: for micro-batches too small to have
    statistics of their own.

    Evaluation has a precision of its own, `eval_amp`, which is float32 unless said otherwise,
    whatever `amp` trains
    with: published weights have the score that they had in training.

    `group_by_shape` deals the images of a step out so that wide ones share micro-batches, and the
    others do.
    """

    duration: Duration = Duration(epochs=300)
    micro_batch: Positive = 128
    micro_batches: Positive = 8
    shuffle_block: Positive | Literal["all"] = "all"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    amp: Precision = "none"
    eval_amp: Precision = "none"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    channels_last: bool = True
    compile: bool = False
    on_non_finite: Literal["stop", "skip"] = "stop"
    evaluate_on: Literal["val", "train", "held_out"] = "val"
    hold_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    evaluate_every: Duration = Duration(epochs=1)
    checkpoint_every: Duration = Duration(epochs=1)
    init_from: str | None = None
    sync_bn: bool = False
    frozen_bn: bool = False
    group_by_shape: bool = False

    @property
    def network_size(self) -> int | None:
        """Pixels of the side of the square images that the network is built for; None where it
        takes images of any size.
        """
        return None

    @model_validator(mode="after")
    def held(self) -> Self:
        """Refuse to judge by a part that is empty."""
        if self.evaluate_on == "held_out" and not self.hold_out:
            raise ValueError(
                "evaluate_on: held_out needs hold_out, the part of the training set to judge by"
            )
        return self

    @property
    def global_batch(self) -> int:
        """Images per optimizer step over all ranks."""
        return self.micro_batch * self.micro_batches


class Recipe(BaseRecipe):
    """Classification: square crops of `image_size`; evaluation resizes the short side to
    `eval_resize` first.
    """

    image_size: Annotated[int, Field(ge=32)] = IMAGE_SIZE
    eval_resize: Annotated[int, Field(ge=32)] = 256
    augment: Augment = Augment()
    group_by_shape: Literal[False] = False  # all its images are of one size

    @property
    def network_size(self) -> int:
        """The side of the crops."""
        return self.image_size

    @model_validator(mode="after")
    def agree(self) -> Self:
        """Check fields against each other."""
        if self.eval_resize < self.image_size:
            raise ValueError(
                f"eval_resize {self.eval_resize} is smaller than image_size {self.image_size}"
            )
        return self


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

    init_from: str | None = CLASSIFY
    augment: DetectAugment = DetectAugment()
    proposals: Proposals = Proposals()
    cascade: Cascade = Cascade()
    group_by_shape: bool = True


class SegmentAugment(Section):
    """Random rescale, a crop in which no class fills more than `category_ratio`, flip, photometric
    distortion.
    """

    resize: tuple[Positive, Positive] = (2048, 512)
    ratio: tuple[float, float] = (0.5, 2.0)
    crop: tuple[Positive, Positive] = (512, 512)
    category_ratio: Fraction = 0.75
    flip: Fraction = 0.5
    photometric: bool = True

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

    channels: Positive = 512
    pool_scales: tuple[Positive, ...] = (1, 2, 3, 6)
    dropout: Fraction = 0.1
    auxiliary_channels: Positive = 256
    auxiliary_convs: Positive = 1
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.4
    test_sides: tuple[Positive, Positive] = (2048, 512)
    test_scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    test_flip: bool = False


class SegmentRecipe(BaseRecipe):
    """Semantic segmentation with UPerNet, from the classification variant of the same name."""

    init_from: str | None = CLASSIFY
    augment: SegmentAugment = SegmentAugment()
    upernet: UPerNet = UPerNet()
    group_by_shape: Literal[False] = False  # all its crops are of one size
