"""Raw data sets in their official layouts, as lists of samples.

Each data set is a folder whose `about.py` names its reader: a module that lists a tree of files
(`scan`) and turns a sample's target into the bytes of a shard member (`target_bytes`). Nothing else
in the project knows how raw data lie on disk.
"""

import hashlib
import importlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, cast

from pipeline.core.errors import UserError, nearest
from pipeline.datasets import draw
from pipeline.datasets.layout import Asked
from pipeline.datasets.listing import Class, Filed, Listing, Sample, Tree
from pipeline.datasets.refusals import why_empty
from pipeline.datasets.source import Archive, open_source
from pipeline.datasets.source.names import escaped, printable
from pipeline.datasets.targets import Target
from pipeline.params.data import Dataset, RemoteFile
from pipeline.params.registry import datasets


class LayoutReader(Protocol):
    """What the module offers that reads a data set's layout."""

    SPLITS: Mapping[str, str]
    """Split name to the folder that the official layout gives it."""
    ARCHIVES: Mapping[str, Archive]
    """The official archives by name."""
    IGNORE: int | None
    """The raw label that means nothing and belongs to no class."""
    RESIZABLE: bool
    """Whether images may shrink; boxes and masks would have to follow."""

    def scan(self, tree: Tree, asked: Asked) -> Listing:
        """List the files of a raw data set."""

    def complete(
        self,
        listing: Listing,
        name: str,
        asked: Dataset,
        local: Callable[[str | RemoteFile], Path],
    ) -> None:
        """Add to a listing what the section `data.<name>` names besides the source.

        `local` gives the path of a file that the section names, downloaded if need be.
        """

    def groups(self, samples: Sequence[Sample]) -> Mapping[str, Hashable]:
        """Return the class of each sample by its key, or one and the same for all where no listing
        tells.
        """

    def for_evaluation(self, sample: Sample) -> Sample:
        """Return a sample of the training split as the validation split holds it."""

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


def dataset(name: str) -> LayoutReader:
    """Return a data set's reader by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in datasets():
        raise UserError(f"no data set is called {name!r}; {nearest(name, datasets())}")
    return cast(LayoutReader, importlib.import_module(datasets()[name].reader))


def list_folder(
    name: str,
    root: Path,
    splits: Mapping[str, str],
    only: Collection[str] | None = None,
    annotations: Mapping[str, str] | None = None,
    hold_out: float | None = None,
    seed: int = 0,
    follow_links: bool = False,
) -> Listing:
    """List a raw data set: a folder, official archives in it, or one such archive.

    Args:
        name: the data set, which is the name of its folder.
        root: the folder, or the archive.
        splits: other folders for splits, e.g. `{"val": "test"}`.
        only: names of archives in the folder; nothing else in it is looked at.
        annotations: the annotation files of splits, where they are not found by themselves (COCO).
        hold_out: the fraction of the training split (of each class, where images have one) that
            becomes `val`.
        seed: with the names, all that decides what is held out.
        follow_links: follow links that lead out of the folder.

    Raises:
        UserError: the source is missing, not in the data set's layout, or an archive is cut off or
            damaged.
    """
    module = dataset(name)
    try:
        tree = open_source(root, module.ARCHIVES, only, follow_links)
    except UserError as error:
        raise UserError(f"data.{name}.source: {error}") from None

    try:
        listing = module.scan(tree, Asked(name, splits, annotations or {}, hold_out is not None))
    except UserError as error:
        raise UserError(f"{error}{_refused(tree)}") from None

    _check_names(listing)
    if hold_out is not None:
        _hold_out(module, listing, hold_out, seed)
    if lacking := [split for split, samples in listing.splits.items() if not samples]:
        places = " and ".join(f"{listing.folders[split]}/" for split in lacking)
        raise UserError(f"{root}: no usable image in {places}: {why_empty(listing)}")
    return listing


def _refused(tree: Tree) -> str:
    """Return what was refused while the source was listed, to be added to a sentence."""
    entries = "; ".join(str(entry) for entry in tree.refused[:5])
    return f"; refused: {entries}" if entries else ""


def _check_names(listing: Listing) -> None:
    """Stop at a class whose name is no text: it could stand in no manifest, and in no result."""
    for entry in listing.classes:
        for text in (str(entry.id), entry.name):
            if (safe := escaped(text)) != text:
                raise UserError(
                    f"{listing.root}: the class {printable(safe)} has a name that is not UTF-8 "
                    "text; rename it "
                    "(`convmv -f latin1 -t utf8 -r --notest FOLDER` renames a whole folder)"
                )


def _hold_out(module: LayoutReader, listing: Listing, fraction: float, seed: int) -> None:
    """Make a validation split from a part of the training split."""
    samples = listing.splits["train"]
    held = draw.share({sample.key: _class_of(sample) for sample in samples}, fraction, seed)

    listing.splits["train"] = [sample for sample in samples if sample.key not in held]
    listing.splits["val"] = [
        module.for_evaluation(sample) for sample in samples if sample.key in held
    ]
    listing.folders["val"] = listing.folders["train"]
    listing.notes.add(
        "held_out", *(sample.image for sample in listing.splits["val"]), count=len(held)
    )


def _class_of(sample: Sample) -> int | None:
    """Return the class of an image that has one."""
    return sample.target if isinstance(sample.target, int) else None


def in_shard_order(name: str, split: str, samples: Sequence[Sample]) -> list[Sample]:
    """Return a split's samples as they are cut into shards: by key, or permuted where keys are
    sorted by class.

    The permutation is by a digest, so that it depends on the keys alone and not on any library.
    """
    if not dataset(name).shuffled(split):
        return list(samples)
    return sorted(samples, key=lambda sample: hashlib.sha256(sample.key.encode()).digest())


def limited(
    listing: Listing, name: str, limit: Mapping[Literal["train", "val"], int], seed: int = 0
) -> Listing:
    """Keep so many samples of each split that `limit` names; the files of the others are ignored by
    rule.

    They are drawn by their names and the seed: one of each class first, then each class by its
    share. The class of an image with several is the one that fewest images show.
    """
    for split, count in limit.items():
        samples = listing.splits[split]
        kept = set(draw.spread(dataset(name).groups(samples), count, seed))
        rest = [sample for sample in samples if sample.key not in kept]
        listing.splits[split] = [sample for sample in samples if sample.key in kept]
        listing.ignored += [
            Filed(path, "beyond_limit") for sample in rest for path in listing.files_of(sample)
        ]

        classes = {
            group for sample in listing.splits[split] if (group := _class_of(sample)) is not None
        }
        if classes and len(classes) < len(listing.classes):
            listing.warnings.append(
                f"data.{name}.limit.{split}: {count} leaves {len(classes)} of "
                f"{len(listing.classes)} classes"
            )

    listing.ignored.sort()
    return listing
