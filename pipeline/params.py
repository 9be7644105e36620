"""The pydantic models of params.yaml: every key, its range, and what must agree with what.

`load` validates the whole file at once, before any work; all errors are reported together, and an unknown key is
answered with the nearest right name.
"""

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from models.sizes import SIZES
from pipeline.errors import UserError, discreet, nearest
from pipeline.recipes import (
    Augment as Augment,
)
from pipeline.recipes import (
    BaseRecipe as BaseRecipe,
)
from pipeline.recipes import (
    DetectRecipe as DetectRecipe,
)
from pipeline.recipes import (
    Duration as Duration,
)
from pipeline.recipes import (
    Optimizer as Optimizer,
)
from pipeline.recipes import (
    Positive,
    Section,
)
from pipeline.recipes import (
    Recipe as Recipe,
)
from pipeline.recipes import (
    Schedule as Schedule,
)
from pipeline.recipes import (
    SegmentRecipe as SegmentRecipe,
)

Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
DATASETS = ("imagenet", "coco", "ade20k")
FILE_NAME = frozenset(string.ascii_letters + string.digits + "-_.")
PROTOCOLS = ("http://", "https://", "s3://", "gs://", "file://")
MIXERS = Path(__file__).parents[1] / "models" / "mixers"


MIXER_FIELDS = (
    "kernel_size",
    "groups",
    "group_channels",
    "norm",
    "projection_norm",
    "se",
    "shift",
    "position_bias",
    "shared_windows",
    "row_bias",
)
"""Fields of a variant that are options of its mixer."""


def mixer_options(mixer: str) -> list[str]:
    """Return the options of a mixer, read from its file without importing it, which would import torch."""
    tree = ast.parse((MIXERS / f"{mixer}.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "block"]
    return [argument.arg for block in blocks for argument in block.args.kwonlyargs]


class Synthetic(Section):
    """How many stand-in images to draw, how large (pixels), and from which seed."""

    train: Positive = 3000
    val: Positive = 1000
    image_size: Annotated[int, Field(ge=32)] = 64
    seed: Annotated[int, Field(ge=0)] = 0


class Remote(Section):
    """A file to download: its address, and the checksums that it must have, at least one."""

    url: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None

    @model_validator(mode="after")
    def usable(self) -> Self:
        """Check the address without repeating it in messages: it may hold a secret."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url should start with http:// or https:// and a server's name")
        if parts.username is not None:
            raise ValueError("url holds a user's name, which would be published with it; put it into ~/.netrc")
        if not self.file_name or self.file_name.startswith(".") or set(self.file_name) - FILE_NAME:
            raise ValueError("url should end in a file's name, of letters, digits and -_.")
        if not self.digests:
            raise ValueError("sha256 or md5 is missing: without a checksum nobody knows what was downloaded")
        return self

    @property
    def file_name(self) -> str:
        """What the file is called on disk."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def digests(self) -> dict[str, str]:
        """The checksums by the name of their algorithm."""
        return {name: value for name in ("sha256", "md5") if (value := getattr(self, name)) is not None}


def _local(path: str) -> str:
    if "://" in path:
        raise ValueError("a URL needs its checksum; write {url: ..., sha256: ...}, or md5")
    return path


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _some(remotes: tuple[Remote, ...]) -> tuple[Remote, ...]:
    if len({remote.file_name for remote in remotes}) < max(1, len(remotes)):
        raise ValueError("name at least one URL, and no two with the same file name")
    return remotes


Local = Annotated[str, BeforeValidator(lambda value: _local(value) if isinstance(value, str) else value)]
Remotes = Annotated[tuple[Remote, ...], BeforeValidator(_listed), AfterValidator(_some)]


class Dataset(Section):
    """One raw data set: `source` is `synthetic`, a folder in the official layout, official archives, or their URLs."""

    source: Annotated[
        Annotated[Local, Tag("path")] | Annotated[Remotes, Tag("urls")],
        Discriminator(lambda value: "path" if isinstance(value, str) else "urls"),
    ] = "synthetic"
    splits: dict[Literal["train", "val"], str] = Field(default_factory=dict)
    synthetic: Synthetic = Synthetic()

    @property
    def origin(self) -> str:
        """The source as results name it."""
        return (
            self.source if isinstance(self.source, str) else ", ".join(discreet(remote.url) for remote in self.source)
        )


class ImageNet(Dataset):
    """ImageNet; `real_labels` is ImageNet-Real's real.json: several labels an image, for the validation split."""

    real_labels: (
        Annotated[
            Annotated[Local, Tag("path")] | Annotated[Remote, Tag("url")],
            Discriminator(lambda value: "path" if isinstance(value, str) else "url"),
        ]
        | None
    ) = None


class Data(Section):
    """The three data sets."""

    imagenet: ImageNet = ImageNet()
    coco: Dataset = Dataset()
    ade20k: Dataset = Dataset()


class Shard(Section):
    """How raw files become tar shards. `short_side: null` keeps the original bytes untouched."""

    samples_per_shard: Positive = 1000
    short_side: Annotated[int, Field(ge=8)] | None = None
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    max_quarantined: Annotated[int, Field(ge=0)] = 0
    max_pixels: Positive = 50_000_000


class Variant(Section):
    """One row of the comparison: a mixer in a size, and what differs from the task's recipe.

    The options of the paper's ablations are fields; `options` holds those that a mixer of your own has besides.
    """

    mixer: Name
    size: Literal["micro", "tiny", "small", "base"] | None = None
    timm_name: str | None = None
    kernel_size: Positive | None = None
    groups: Positive | None = None
    group_channels: Positive | None = None
    norm: Literal["ln", "bn"] | None = None
    projection_norm: bool | None = None
    se: bool | None = None
    shift: bool | None = None
    position_bias: bool | None = None
    shared_windows: bool | None = None
    row_bias: bool | None = None
    options: dict[Name, Any] = Field(default_factory=dict)
    embed_dim: Positive | None = None
    depths: tuple[Positive, Positive, Positive, Positive] | None = None
    num_heads: tuple[Positive, Positive, Positive, Positive] | None = None
    drop_path_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    seeds: Seeds | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def consistent(self) -> Self:
        """Check what can be checked without building the model."""
        if (self.mixer == "timm") != (self.timm_name is not None):
            raise ValueError("timm_name goes with `mixer: timm`, and `mixer: timm` needs a timm_name")
        if self.mixer != "timm" and self.size is None:
            raise ValueError(f"size is missing; one of {', '.join(SIZES)}")
        if self.kernel_size is not None and self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {self.kernel_size} is even; a kernel needs a centre, so an odd size")
        if self.groups is not None and self.group_channels is not None:
            raise ValueError("groups and group_channels say the same thing twice; keep one")
        mixers = [path.stem for path in MIXERS.glob("[a-z]*.py")]
        if self.mixer not in mixers:
            raise ValueError(f"there is no mixer '{self.mixer}'; {nearest(self.mixer, mixers)}")
        if self.mixer != "timm":
            self._refuse_options_of_others()
        dim = self.embed_dim or (SIZES[self.size].embed_dim if self.size else 0)
        for name in ("groups", "group_channels"):
            value = getattr(self, name)
            if value is not None and dim % value:
                raise ValueError(f"{name} {value} does not divide the {dim} channels of the first stage")
        return self

    def _refuse_options_of_others(self) -> None:
        taken = mixer_options(self.mixer)
        for name in [*(name for name in MIXER_FIELDS if getattr(self, name) is not None), *self.options]:
            if name not in taken:
                raise ValueError(f"{self.mixer} has no option {name}; {nearest(name, taken)}")
        for name in self.options:
            if name in MIXER_FIELDS:
                raise ValueError(f"options.{name} has a place of its own; write {name} beside mixer")

    @property
    def model_name(self) -> str:
        """The name that `models.create_model` knows."""
        return f"timm:{self.timm_name}" if self.mixer == "timm" else f"{self.mixer}_{self.size}"

    @property
    def overrides(self) -> dict[str, Any]:
        """What differs from the named model, as keyword arguments of `models.create_model`."""
        names = (*MIXER_FIELDS, "embed_dim", "depths", "num_heads", "drop_path_rate")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None} | self.options


class Task(Section):
    """A task: its data, recipe, seeds (the first is published) and variants."""

    dataset: Literal["imagenet", "coco", "ade20k"]
    seeds: Seeds = (0,)
    recipe: BaseRecipe
    variants: dict[Name, Variant] = Field(default_factory=dict)

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

    tolerance: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"top1": 0.3, "box_ap": 0.4, "mask_ap": 0.4, "miou": 0.5}
    )
    within_noise: Annotated[float, Field(ge=1)] = 2.0


class Cluster(Section):
    """Where and how runs execute; nothing here changes a result.

    `shards` is a URL or path under which each data set's folder lies as the shard stage wrote it (null: the local
    folder); what is read from there is kept in the folder `cache` of each node, up to `cache_gb` (10^9 bytes).
    """

    workers: Positive = 2
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    loader_workers: Annotated[int, Field(ge=0)] = 0
    storage: str = "runs"
    max_failures: Annotated[int, Field(ge=0)] = 3
    together: bool = False
    shards: str | None = None
    cache: str | None = None
    cache_gb: Annotated[float, Field(gt=0)] = 200.0

    @field_validator("shards")
    @classmethod
    def address(cls, url: str | None) -> str | None:
        """Check that shards come from a protocol that is meant, or from a folder named in full."""
        if url is not None and (not url.startswith((*PROTOCOLS, "/")) or "?" in url or "::" in url):
            raise ValueError(f"give a URL that starts with {', '.join(PROTOCOLS)}, or an absolute path")
        return url.rstrip("/") if url else url


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
    given = "" if error["type"] in ("value_error", "missing") else f" (given: {discreet(repr(error['input']))})"
    return f"{where}: {message}{given}" if where else message


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `loc` knows."""
    current: Any = model
    for part in loc:
        if not _is_section(current):  # a mapping: its values
            current = _section_in(current)
        elif str(part) in current.model_fields:  # or else the number of an item, or the name of a choice
            current = current.model_fields[str(part)].annotation
            if getattr(current, "__origin__", None) is not dict:
                current = _section_in(current) or current
    return list(current.model_fields) if _is_section(current) else []


def _section_in(annotation: Any) -> Any:
    """Return the first section in an annotation, or None."""
    if _is_section(annotation):
        return annotation
    found = (_section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in found if section is not None), None)


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
