"""How many images a data set has and how large it is, from the best source that is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.datasets.base import dataset as reader
from pipeline.params import Dataset, Shard
from pipeline.params.registry import Split, datasets
from pipeline.project.call import Call
from pipeline.shards.manifest import Manifest

SPLITS: tuple[Split, ...] = get_args(Split)
TAR_BYTES = 2 * (512 + 256)
"""What a tar adds to a sample of two members: a header each, and half a block of padding on
average.
"""
DRAWN = (600, 0.32)
"""Bytes of a drawn image: so many, and so many a pixel (measured at 64 and 128 pixels)."""
REENCODED = 0.4
"""Bytes a pixel of a JPEG of quality 90 (40 GB for ImageNet at a short side of 256)."""


@dataclass(frozen=True)
class Amount:
    """What a data set holds: images of each split (None: nobody looked yet), bytes of its raw files
    and shards.

    `train_shards` has the images of each training shard. `known` says from where: the manifest, the
    inventory, the params of synthetic images, or the official numbers.
    """

    name: str
    images: dict[Split, int] | None
    raw: int | None
    shards: int | None
    known: Literal["manifest", "inventory", "params", "official", "unknown"]
    train_shards: tuple[int, ...] = ()

    @property
    def total(self) -> int | None:
        """Images of both splits."""
        return None if self.images is None else sum(self.images.values())


def amount_of(call: Call, name: str) -> Amount:
    """Return what a data set holds under these parameters."""
    section: Dataset = getattr(call.params.data, name)
    try:
        manifest = Manifest.load(call.shards(name))
    except UserError:  # no shards, or of other data
        return _listed(call, name, section) or _expected(call, name, section)

    images: dict[Split, int] = {split: entry.samples for split, entry in manifest.splits.items()}
    listed = _listed(call, name, section)
    size = sum(size for size, _ in manifest.files().values())
    shards = tuple(shard.samples for shard in manifest.splits["train"].shards)
    return Amount(name, images, listed.raw if listed else None, size, "manifest", shards)


def _listed(call: Call, name: str, section: Dataset) -> Amount | None:
    """Return what fetch found, if it looked at these data."""
    inventory = records.read(call.source(lambda folders: folders.raw(name)), records.Inventory)
    if (
        inventory is None
        or inventory["request"] != section.model_dump(mode="json")
        or not set(SPLITS) <= inventory["splits"].keys()
    ):
        return None

    images: dict[Split, int] = {split: inventory["splits"][split]["samples"] for split in SPLITS}
    raw = sum(inventory["splits"][split]["bytes"] for split in SPLITS)
    return Amount(
        name,
        images,
        raw,
        _as_shards(name, images, raw, call.params.shard),
        "inventory",
        _cut(call, images),
    )


def _expected(call: Call, name: str, section: Dataset) -> Amount:
    """Return what the parameters alone say."""
    if section.source == "synthetic":
        drawn: dict[Split, int] = {"train": section.synthetic.train, "val": section.synthetic.val}
        images = _limited(drawn, section)
        each = DRAWN[0] + DRAWN[1] * section.synthetic.image_size**2
        raw = round(sum(drawn.values()) * each)
        kept = round(sum(images.values()) * each)

        return Amount(
            name,
            images,
            raw,
            _as_shards(name, images, kept, call.params.shard),
            "params",
            _cut(call, images),
        )

    if not _official(call.project, name, section):
        return Amount(name, None, None, None, "unknown")

    official = datasets()[name]
    images = _limited(official.images, section)
    kept = round(official.bytes * sum(images.values()) / sum(official.images.values()))
    return Amount(
        name,
        images,
        official.bytes,
        _as_shards(name, images, kept, call.params.shard),
        "official",
        _cut(call, images),
    )


def _limited(images: dict[Split, int], section: Dataset) -> dict[Split, int]:
    return {split: min(count, section.limit.get(split, count)) for split, count in images.items()}


def _official(project: Path, name: str, section: Dataset) -> bool:
    """Return whether a source can only be the official data: archives, or a folder that is still to
    come.

    A folder that is there may hold anything; fetch looks.
    """
    if not isinstance(section.source, str):
        return True
    folder = project / Path(section.source).expanduser()
    return not folder.exists() or any(
        (folder / archive).exists() for archive in reader(name).ARCHIVES
    )


def _cut(call: Call, images: dict[Split, int]) -> tuple[int, ...]:
    """Return how many training images each shard will have: the last one what is left."""
    full, rest = divmod(images["train"], call.params.shard.samples_per_shard)
    return (call.params.shard.samples_per_shard,) * full + ((rest,) if rest else ())


def _as_shards(name: str, images: dict[Split, int], raw: int, shard: Shard) -> int:
    """Return about how many bytes the shards take: the original files, or JPEGs of a smaller
    size.
    """
    count = sum(images.values())
    if shard.short_side is not None and reader(name).RESIZABLE:
        raw = min(raw, round(count * REENCODED * shard.short_side**2 * 4 / 3))
    return raw + count * TAR_BYTES
