"""The manifest: what shards there are, what is in them, and what became of every input file."""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import UserError, shortened
from pipeline.core.files import digest, write_text

NAME = "manifest.json"
REAL_LABELS: Literal["val.real.json"] = "val.real.json"
FORMAT: Literal[1] = 1
LINE = 160  # characters; shorter mappings take one
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassEntry(_Part):
    """A class; its position in the list is its index.

    `id` is its synset, category id or mask value.
    """

    id: int | str
    name: str


class TargetEntry(_Part):
    """How targets are stored: the member's extension, and the raw value that means nothing
    (ADE20K's 0).
    """

    member: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]
    ignore: int | None = None


class Images(_Part):
    """How images were treated; null where the original bytes stand."""

    short_side: int | None = None
    jpeg_quality: int | None = None
    repair_quality: int


class ShardEntry(_Part):
    """One tar; `classes` counts, by class index, the samples that show the class."""

    name: Annotated[str, Field(pattern=r"^[0-9]{6,}\.tar$")]
    sha256: Digest
    bytes: Count
    samples: Annotated[int, Field(gt=0)]
    classes: list[Count]


class IndexEntry(_Part):
    """The split's sample index, a NumPy file beside the manifest."""

    name: Annotated[str, Field(pattern=r"^[a-z]+\.index\.npy$")]
    sha256: Digest
    bytes: Count


class RealLabelsEntry(_Part):
    """ImageNet-Real's labels beside the manifest: JSON, the key of a sample of `val` to ascending
    class indices.
    """

    name: Literal["val.real.json"]
    sha256: Digest
    bytes: Count


class TargetsEntry(_Part):
    """What became of a split's objects (COCO) or pixels (ADE20K), by reason.

    `listed` is the sum of `seen` (training uses them, an evaluation judges by them), `judging_only`
    (in the shards, passed over by training) and `dropped`; `without_mask` are those of the first
    two that have a box alone.
    """

    listed: Count
    seen: Count
    judging_only: dict[str, Count]
    dropped: dict[str, Count]
    without_mask: dict[str, Count]

    def words(self, unit: str) -> str:
        """Return all counts as one line, e.g.

        `12 objects: 11 seen, 1 for judging only (crowd 1)`.
        """
        parts = [f"{self.seen:,} seen"]
        for text, counts in (
            ("for judging only", self.judging_only),
            ("dropped", self.dropped),
            ("without a mask", self.without_mask),
        ):
            if counts:
                reasons = ", ".join(
                    f"{reason} {count:,}" for reason, count in sorted(counts.items())
                )
                parts.append(f"{sum(counts.values()):,} {text} ({reasons})")

        return f"{self.listed:,} {unit}: {', '.join(parts)}"


class SplitEntry(_Part):
    """One split: its shards in order, the index that covers them all, and what became of its
    annotations.

    `targets` is null where each sample has a class alone, and in manifests that were written before
    it was counted.
    """

    samples: Count
    shards: list[ShardEntry]
    index: IndexEntry
    targets: TargetsEntry | None = None

    def per_class(self) -> list[int]:
        """Return how many samples show each class."""
        return [
            sum(counts) for counts in zip(*(shard.classes for shard in self.shards), strict=True)
        ]


class InputEntry(_Part):
    """An input file that was not simply kept: relative path, reason code, what was seen; or a
    folder of `files`.
    """

    path: str
    reason: str
    detail: str = ""
    files: Count = 1


class NoteEntry(_Part):
    """What was noticed of inputs that are in use: how often, and the first examples."""

    count: Count
    examples: list[str]


class Inputs(_Part):
    """The buckets that every input file ends in; they add up to `listed`. `notes` are by code."""

    listed: Count
    kept: Count
    repaired: list[InputEntry]
    quarantined: list[InputEntry]
    ignored: list[InputEntry]
    notes: dict[str, NoteEntry]

    def files(self, bucket: Literal["repaired", "quarantined", "ignored"]) -> int:
        """Return how many files are in a bucket."""
        entries: list[InputEntry] = getattr(self, bucket)
        return sum(entry.files for entry in entries)


class Manifest(_Part):
    """manifest.json as a value."""

    format: Literal[1] = FORMAT
    dataset: str
    classes: list[ClassEntry]
    target: TargetEntry
    images: Images
    splits: dict[Literal["train", "val"], SplitEntry]
    inputs: Inputs
    inventory: Digest
    real_labels: RealLabelsEntry | None = None

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read the manifest of a folder of shards.

        Raises:
            UserError: there is none, or it is not one of this format.
        """
        path = folder / NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"no shards in {folder}: {NAME}: {error.strerror}; run the shard stage"
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = shortened(".".join(map(str, first["loc"])))
            raise UserError(
                f"{path} is not a manifest of format {FORMAT}: {where}: {first['msg']}; run the "
                "shard stage again"
            ) from None

    def save(self, folder: Path) -> None:
        """Write the manifest into a folder, whole or not at all."""
        write_text(folder / NAME, self.text)

    @cached_property
    def text(self) -> str:
        """Return the bytes of manifest.json as text: a line a shard, so that a thousand stay
        readable.
        """
        tree = self.model_dump(mode="json", exclude_defaults=False)

        for bucket in ("repaired", "quarantined", "ignored"):
            tree["inputs"][bucket] = [_brief(entry) for entry in tree["inputs"][bucket]]
        if self.real_labels is None:
            del tree["real_labels"]
        for entry in tree["splits"].values():
            if entry["targets"] is None:
                del entry["targets"]

        return _indented(tree) + "\n"

    @cached_property
    def digest(self) -> str:
        """Return the hex SHA-256 of manifest.json."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def content(self) -> str:
        """Return the hex SHA-256 of what a run's result depends on: the same for an archive and for
        its folder.

        Left out are where the samples came from (`inputs`, `inventory`, `targets`) and what classes
        are called.
        """
        decides = {"format", "dataset", "target", "images", "splits", "real_labels"}
        account = {"splits": {"__all__": {"targets"}}}
        content = self.model_dump(mode="json", include=decides, exclude=account)
        return digest({**content, "classes": [entry.id for entry in self.classes]})

    def files(self, splits: Iterable[str] | None = None) -> dict[str, tuple[int, str]]:
        """Return bytes and SHA-256 of every file beside the manifest by its name; of these splits
        where given.
        """
        files: dict[str, tuple[int, str]] = {}
        for name, entry in self.splits.items():
            if splits is None or name in splits:
                files |= {
                    f"{name}/{shard.name}": (shard.bytes, shard.sha256) for shard in entry.shards
                }
                files[entry.index.name] = (entry.index.bytes, entry.index.sha256)

        if self.real_labels is not None and (splits is None or "val" in splits):
            files[self.real_labels.name] = (self.real_labels.bytes, self.real_labels.sha256)

        return files

    @property
    def unit(self) -> str:
        """What a split's `targets` counts."""
        return "pixels" if self.target.member == "png" else "annotations"

    def class_index(self) -> dict[int | str, int]:
        """Return the class index of each raw id."""
        return {entry.id: index for index, entry in enumerate(self.classes)}


def _brief(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing."""
    return {
        key: value
        for key, value in entry.items()
        if (key, value) not in (("detail", ""), ("files", 1))
    }


def _indented(value: Any, depth: int = 0) -> str:
    """Return JSON with sorted keys, indented but for what holds no mapping or fits into a line:
    that takes one line.
    """
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    rows = isinstance(value, list) and any(isinstance(item, dict) for item in value)
    if not rows and not any(_has_rows(item) for item in nested):
        line = json.dumps(value, sort_keys=True)
        if len(line) <= LINE or not any(isinstance(item, dict) for item in nested):
            return line

    pad = "  " * (depth + 1)
    if isinstance(value, dict):
        lines = [f"{json.dumps(key)}: {_indented(value[key], depth + 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(pad + line for line in lines) + "\n" + "  " * depth + "}"
    return (
        "[\n"
        + ",\n".join(pad + _indented(item, depth + 1) for item in value)
        + "\n"
        + "  " * depth
        + "]"
    )


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)
