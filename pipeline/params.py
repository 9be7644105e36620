"""The pydantic models of params.yaml: every key, its range, and what must agree with what.

`load` validates the whole file at once, before any work; all errors are reported together, and an unknown key is
answered with the nearest right name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from models.sizes import SIZES
from pipeline.errors import UserError, nearest

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
DATASETS = ("imagenet", "coco", "ade20k")
MIXERS = Path(__file__).parents[1] / "models" / "mixers"


class Section(BaseModel):
    """A mapping of params.yaml: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Synthetic(Section):
    """How many stand-in images to draw, how large (pixels), and from which seed."""

    train: Positive = 3000
    val: Positive = 1000
    image_size: Annotated[int, Field(ge=32)] = 64
    seed: Annotated[int, Field(ge=0)] = 0


class Dataset(Section):
    """One raw data set: `source` is `synthetic` or a folder in the official layout."""

    source: str = "synthetic"
    splits: dict[Literal["train", "val"], str] = {}
    synthetic: Synthetic = Synthetic()


class Data(Section):
    """The three data sets."""

    imagenet: Dataset = Dataset()
    coco: Dataset = Dataset()
    ade20k: Dataset = Dataset()


class Shard(Section):
    """How raw files become tar shards. `short_side: null` keeps the original bytes untouched."""

    samples_per_shard: Positive = 1000
    short_side: Annotated[int, Field(ge=8)] | None = None
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    max_quarantined: Annotated[int, Field(ge=0)] = 0
    max_pixels: Positive = 50_000_000


class Optimizer(Section):
    """AdamW without decay on 1-D parameters and biases; `lr` is the peak at `lr_batch` images a step."""

    lr: Annotated[float, Field(gt=0)] = 5e-4
    lr_batch: Positive | None = 512
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    clip_grad: Annotated[float, Field(gt=0)] | None = 5.0
    no_decay: Literal["1d_and_bias", "norm_names"] = "1d_and_bias"


class Schedule(Section):
    """Learning rate over steps; `warmup_lr` and `min_lr` scale with the batch as `lr` does."""

    kind: Literal["cosine", "multistep", "poly"] = "cosine"
    warmup: Duration = Duration(epochs=20)
    warmup_lr: Annotated[float, Field(ge=0)] = 5e-7
    min_lr: Annotated[float, Field(ge=0)] = 5e-6
    milestones: tuple[Duration, ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    power: Annotated[float, Field(gt=0)] = 1.0


class Augment(Section):
    """Training augmentation of classification, in the paper's numbers unless said otherwise."""

    crop_scale: tuple[Fraction, Fraction] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333333333333333)
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    flip: Fraction = 0.5
    rand_augment: str | None = "rand-m9-mstd0.5-inc1"
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
    """What the recipes of all tasks have in common; besides the model and the data it decides a run's result.

    A micro-batch is what batch norm and mixing see (the paper's images per GPU); `micro_batches` of them make the
    global batch of one optimizer step, whatever the number of ranks.
    """

    duration: Duration = Duration(epochs=300)
    micro_batch: Positive = 128
    micro_batches: Positive = 8
    shuffle_block: Positive | Literal["all"] = "all"
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    amp: Literal["none", "bf16", "fp16"] = "none"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    channels_last: bool = True
    compile: bool = False
    on_non_finite: Literal["stop", "skip"] = "stop"
    evaluate_every: Duration = Duration(epochs=1)
    checkpoint_every: Duration = Duration(epochs=1)
    init_from: str | None = None

    @property
    def global_batch(self) -> int:
        """Images per optimizer step over all ranks."""
        return self.micro_batch * self.micro_batches


class Recipe(BaseRecipe):
    """Classification: square crops of `image_size`; evaluation resizes the short side to `eval_resize` first."""

    image_size: Annotated[int, Field(ge=32)] = 224
    eval_resize: Annotated[int, Field(ge=32)] = 256
    augment: Augment = Augment()

    @model_validator(mode="after")
    def agree(self) -> Self:
        """Check fields against each other."""
        if self.eval_resize < self.image_size:
            raise ValueError(f"eval_resize {self.eval_resize} is smaller than image_size {self.image_size}")
        return self


class DetectAugment(Section):
    """Two policies at random: multi-scale resize, or resize, crop, then multi-scale resize. Sides in pixels."""

    flip: Fraction = 0.5
    short_sides: tuple[Positive, ...] = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
    long_side: Positive = 1333
    crop_short_sides: tuple[Positive, ...] = (400, 500, 600)
    crop: tuple[Positive, Positive] = (384, 600)
    pad_to: Positive = 32


class Proposals(Section):
    """The region proposal network: anchors, sampling and non-maximum suppression."""

    anchor_scale: Positive = 8
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    smooth_l1_beta: Annotated[float, Field(gt=0)] = 1 / 9
    sampled: Positive = 256
    positive_iou: Fraction = 0.7
    negative_iou: Fraction = 0.3
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
    giou_weight: Annotated[float, Field(gt=0)] = 10.0
    box_stds: tuple[tuple[float, float, float, float], ...] = (
        (0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067),
    )  # fmt: skip
    mask_convs: Positive = 4
    mask_size: Positive = 28
    regions: Positive = 512
    positive_fraction: Fraction = 0.25
    score_threshold: Fraction = 0.05
    nms_iou: Fraction = 0.5
    detections: Positive = 100
    test_sides: tuple[Positive, Positive] = (800, 1333)


class DetectRecipe(BaseRecipe):
    """Detection and instance segmentation with Cascade Mask R-CNN; `sync_bn` makes all batch norms see all ranks."""

    augment: DetectAugment = DetectAugment()
    proposals: Proposals = Proposals()
    cascade: Cascade = Cascade()
    sync_bn: bool = False


class SegmentAugment(Section):
    """Random rescale, a crop in which no class fills more than `category_ratio`, flip, photometric distortion."""

    resize: tuple[Positive, Positive] = (2048, 512)
    ratio: tuple[float, float] = (0.5, 2.0)
    crop: tuple[Positive, Positive] = (512, 512)
    category_ratio: Fraction = 0.75
    flip: Fraction = 0.5
    photometric: bool = True


class UPerNet(Section):
    """UPerNet with pyramid pooling and the auxiliary FCN head on the third stage."""

    channels: Positive = 512
    pool_scales: tuple[Positive, ...] = (1, 2, 3, 6)
    dropout: Fraction = 0.1
    auxiliary_channels: Positive = 256
    auxiliary_convs: Positive = 1
    auxiliary_weight: Annotated[float, Field(ge=0)] = 0.4
    test_sides: tuple[Positive, Positive] = (2048, 512)


class SegmentRecipe(BaseRecipe):
    """Semantic segmentation with UPerNet."""

    augment: SegmentAugment = SegmentAugment()
    upernet: UPerNet = UPerNet()
    sync_bn: bool = False


class Variant(Section):
    """One row of the comparison: a mixer in a size, and what differs from the task's recipe."""

    mixer: Name
    size: Literal["micro", "tiny", "small", "base"] | None = None
    timm_name: str | None = None
    kernel_size: Positive | None = None
    groups: Positive | None = None
    group_channels: Positive | None = None
    embed_dim: Positive | None = None
    depths: tuple[Positive, Positive, Positive, Positive] | None = None
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    seeds: Seeds | None = None
    recipe: dict[str, Any] = {}

    @model_validator(mode="after")
    def consistent(self) -> Self:
        """Check what can be checked without building the model."""
        if (self.mixer == "timm") != (self.timm_name is not None):
            raise ValueError("timm_name goes with `mixer: timm`, and `mixer: timm` needs a timm_name")
        if self.mixer != "timm" and self.size is None:
            raise ValueError(f"size is missing; one of {', '.join(SIZES)}")
        if self.kernel_size is not None and self.kernel_size % 2 == 0 and self.mixer != "swin":
            raise ValueError(
                f"kernel_size {self.kernel_size} is even; a kernel that slides needs a centre, so an odd size"
            )
        if self.groups is not None and self.group_channels is not None:
            raise ValueError("groups and group_channels say the same thing twice; keep one")
        mixers = [path.stem for path in MIXERS.glob("[a-z]*.py")]
        if self.mixer not in mixers:
            raise ValueError(f"there is no mixer '{self.mixer}'; {nearest(self.mixer, mixers)}")
        dim = self.embed_dim or (SIZES[self.size].embed_dim if self.size else 0)
        for name in ("groups", "group_channels"):
            value = getattr(self, name)
            if value is not None and dim % value:
                raise ValueError(f"{name} {value} does not divide the {dim} channels of the first stage")
        return self

    @property
    def model_name(self) -> str:
        """The name that `models.create_model` knows."""
        return f"timm:{self.timm_name}" if self.mixer == "timm" else f"{self.mixer}_{self.size}"

    @property
    def overrides(self) -> dict[str, Any]:
        """What differs from the named model, as keyword arguments of `models.create_model`."""
        names = ("kernel_size", "groups", "group_channels", "embed_dim", "depths", "drop_path_rate")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class Task(Section):
    """A task: its data, recipe, seeds (the first is published) and variants."""

    dataset: Literal["imagenet", "coco", "ade20k"]
    seeds: Seeds = (0,)
    recipe: BaseRecipe
    variants: dict[Name, Variant] = {}

    @model_validator(mode="after")
    def whole(self) -> Self:
        """Check seeds, and each variant's recipe as merged into the task's."""
        wrong = []
        for name in self.variants:
            if len(set(self.seeds_of(name))) != len(self.seeds_of(name)):
                wrong.append(f"variants.{name}: seeds names a seed twice")
            try:
                self.recipe_of(name)
            except ValidationError as error:
                where = f"{type(self).__name__.lower()}.variants.{name}.recipe"
                wrong += [_sentence(e, type(self.recipe), where) for e in error.errors()]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """Return the variant's own seeds, or else the task's."""
        return self.variants[variant].seeds or self.seeds

    def recipe_of(self, variant: str) -> Any:
        """Return the task's recipe with the variant's own numbers merged in."""
        return type(self.recipe).model_validate(_merged(self.recipe.model_dump(), self.variants[variant].recipe))


class Classify(Task):
    """ImageNet classification."""

    dataset: Literal["imagenet"] = "imagenet"
    recipe: Recipe = Recipe()


class Detect(Task):
    """COCO detection and instance segmentation."""

    dataset: Literal["coco"] = "coco"
    recipe: DetectRecipe = DetectRecipe()


class Segment(Task):
    """ADE20K semantic segmentation."""

    dataset: Literal["ade20k"] = "ade20k"
    recipe: SegmentRecipe = SegmentRecipe()


class Profile(Section):
    """Timing protocol: the authors' 50 warm-up and 30 timed batches for inference."""

    batch_size: Positive = 64
    warmup: Annotated[int, Field(ge=0)] = 50
    timed: Positive = 30
    train_warmup: Annotated[int, Field(ge=0)] = 3
    train_timed: Positive = 10


class Compare(Section):
    """Tolerances, in points of each metric, within which a published number counts as reproduced."""

    tolerance: dict[str, Annotated[float, Field(ge=0)]] = {"top1": 0.3, "box_ap": 0.4, "mask_ap": 0.4, "miou": 0.5}
    within_noise: Annotated[float, Field(ge=1)] = 2.0


class Cluster(Section):
    """Where and how runs execute; nothing here changes a result."""

    workers: Positive = 2
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    loader_workers: Annotated[int, Field(ge=0)] = 0
    storage: str = "runs"
    max_failures: Annotated[int, Field(ge=0)] = 3
    together: bool = False


class Tracking(Section):
    """MLflow: null means SQLite in the project; the variable MLFLOW_TRACKING_URI wins over both."""

    uri: str | None = None


class Params(Section):
    """The whole of params.yaml."""

    data: Data = Data()
    shard: Shard = Shard()
    classify: Classify = Classify()
    detect: Detect = Detect()
    segment: Segment = Segment()
    profile: Profile = Profile()
    compare: Compare = Compare()
    cluster: Cluster = Cluster()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def agree(self) -> Self:
        """Check sections against each other."""
        for task in (self.classify, self.detect, self.segment):
            for name in task.variants:
                count = task.recipe_of(name).micro_batches
                if count % self.cluster.workers:
                    raise ValueError(
                        f"cluster.workers {self.cluster.workers} does not divide the {count} micro-batches of a global "
                        f"batch ({name}); use a number of workers that divides {count}"
                    )
        return self


def load(path: Path, overrides: list[str] | None = None) -> Params:
    """Read and validate params.yaml, with `a.b.c=value` overrides applied first.

    Raises:
        UserError: naming every wrong key and value at once.
    """
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; run from the project's folder or pass --params"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {str(error).replace(chr(10), ' ')}") from None
    for item in overrides or []:
        _set(tree, item)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = list(dict.fromkeys([*(_sentence(e, Params, "") for e in error.errors()), *_recipe_errors(tree)]))
        raise UserError(f"{path} does not fit:\n" + "\n".join(f"  {line}" for line in lines)) from None


def _recipe_errors(tree: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong in variants' own recipes, which pydantic reaches only where all else is right."""
    for task in ("classify", "detect", "segment"):
        recipe = type(Params.model_fields[task].default.recipe)
        section = tree.get(task)
        variants = section.get("variants") if isinstance(section, dict) else None
        for name, entry in variants.items() if isinstance(variants, dict) else ():
            own = entry.get("recipe") if isinstance(entry, dict) else None
            try:
                recipe.model_validate(_merged(recipe().model_dump(), own if isinstance(own, dict) else {}))
            except ValidationError as error:
                where = f"{task}.variants.{name}.recipe"
                yield from (_sentence(e, recipe, where) for e in error.errors())


def _set(tree: dict[str, Any], item: str) -> None:
    """Apply one `a.b.c=value`; the value is YAML, so it has a type."""
    dotted, sign, value = item.partition("=")
    if not sign or not dotted:
        raise UserError(f"--set {item}: write it as a.b.c=value")
    *parents, last = dotted.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UserError(f"--set {item}: {key} is a value, not a section")
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {item}: the value is not YAML") from None


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; a duration is replaced whole, since its two units exclude each other."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        nested = isinstance(old, dict) and isinstance(value, dict) and not {"epochs", "steps"} & value.keys()
        merged[key] = _merged(old, value) if nested and old is not None else value
    return merged


def _sentence(error: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    """Turn one pydantic error into `where: what, and the nearest right name`."""
    where = ".".join([prefix, *map(str, error["loc"])]).strip(".")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; {nearest(str(error['loc'][-1]), _keys_at(model, error['loc'][:-1]))}"
    message = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])
    given = "" if error["type"] in ("value_error", "missing") else f" (given: {error['input']!r})"
    return f"{where}: {message}{given}" if where else message


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `loc` knows."""
    current: Any = model
    for part in loc:
        if isinstance(current, type) and issubclass(current, BaseModel):
            current = current.model_fields[str(part)].annotation
        else:  # a mapping or a union: its one member that is a section
            current = next((a for a in getattr(current, "__args__", ()) if _is_section(a)), None)
        if not _is_section(current) and (args := getattr(current, "__args__", None)):
            sections = [a for a in args if _is_section(a)]
            if sections and getattr(current, "__origin__", None) is not dict:
                current = sections[0]
    return list(current.model_fields) if _is_section(current) else []


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
