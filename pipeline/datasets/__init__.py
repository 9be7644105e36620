"""Raw data sets in their official layouts, as lists of samples.

Each data set is a module that lists a tree of files (`scan`) and turns a sample's target into the bytes of a shard
member (`target_bytes`); nothing else in the project knows how raw data lie on disk.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, cast

from pipeline.datasets import ade20k, coco, imagenet
from pipeline.datasets.listing import Class, Filed, Listing, Sample, Tree
from pipeline.datasets.refusals import why_empty
from pipeline.datasets.source import Archive, open_source
from pipeline.datasets.targets import Target
from pipeline.errors import UserError, nearest

__all__ = ["Class", "Filed", "Listing", "Sample", "dataset", "in_shard_order", "limited", "list_folder"]


class DatasetModule(Protocol):
    """What a data set's module offers."""

    SPLITS: Mapping[str, str]
    """Split name to the folder that the official layout gives it."""
    ARCHIVES: Mapping[str, Archive]
    """The official archives by name."""
    MEMBER: str
    """Extension of the target's member in shards."""
    IGNORE: int | None
    """The raw label that means nothing and belongs to no class."""
    RESIZABLE: bool
    """Whether images may shrink; boxes and masks would have to follow."""

    def scan(self, tree: Tree, splits: Mapping[str, str]) -> Listing:
        """List the files of a raw data set."""

    def shuffled(self, split: str) -> bool:
        """Return whether a split's samples are permuted before they are cut into shards."""

    def target_bytes(
        self,
        read: Callable[[str], bytes],
        sample: Sample,
        size: tuple[int, int],
        classes: Sequence[Class],
        max_pixels: int,
    ) -> Target:
        """Return the target as bytes, with its classes and its account; `read` takes a path."""


_MODULES = {"imagenet": imagenet, "coco": coco, "ade20k": ade20k}


def dataset(name: str) -> DatasetModule:
    """Return a data set's module by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in _MODULES:
        raise UserError(f"no data set is called {name!r}; {nearest(name, _MODULES)}")
    return cast(DatasetModule, _MODULES[name])


def list_folder(name: str, root: Path, splits: Mapping[str, str], only: Collection[str] | None = None) -> Listing:
    """List a raw data set: a folder, official archives in it, or one such archive.

    Args:
        name: imagenet, coco or ade20k.
        root: the folder, or the archive.
        splits: other folders for splits, e.g. `{"val": "test"}`.
        only: names of archives in the folder; nothing else in it is looked at.

    Raises:
        UserError: the source is missing, not in the data set's layout, or an archive is cut off or damaged.
    """
    module = dataset(name)
    folders = {**module.SPLITS, **{split: folder.strip("/") for split, folder in splits.items()}}
    if len(set(folders.values())) < len(folders):
        raise UserError(f"data.{name}.splits: each split needs a folder of its own, got {folders}")
    try:
        tree = open_source(root, module.ARCHIVES, only)
    except UserError as error:
        raise UserError(f"data.{name}.source: {error}") from None
    try:
        listing = module.scan(tree, folders)
    except UserError as error:
        refused = "; ".join(str(entry) for entry in tree.refused[:5])
        raise UserError(f"{error}; refused: {refused}" if refused else str(error)) from None
    if lacking := [split for split, samples in listing.splits.items() if not samples]:
        places = " and ".join(f"{folders[split]}/" for split in lacking)
        raise UserError(f"{root}: no usable image in {places}: {why_empty(listing)}")
    return listing


def in_shard_order(name: str, split: str, samples: Sequence[Sample]) -> list[Sample]:
    """Return a split's samples as they are cut into shards: by key, or permuted where keys are sorted by class.

    The permutation is by a digest, so that it depends on the keys alone and not on any library.
    """
    if not dataset(name).shuffled(split):
        return list(samples)
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.key.encode()).digest())


def limited(listing: Listing, name: str, limit: Mapping[Literal["train", "val"], int]) -> Listing:
    """Keep the first samples of each split that `limit` names; the files of the others are ignored by rule."""
    for split, count in limit.items():
        first = {sample.key for sample in in_shard_order(name, split, listing.splits[split])[:count]}
        rest = [sample for sample in listing.splits[split] if sample.key not in first]
        listing.splits[split] = [sample for sample in listing.splits[split] if sample.key in first]
        listing.ignored += [Filed(path, "beyond_limit") for sample in rest for path in listing.files_of(sample)]
    listing.ignored.sort()
    return listing
