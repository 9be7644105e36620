"""A raw data set as a list of files, each in exactly one bucket: kept, quarantined, or ignored by
rule.

The readers of the three data sets claim files from a `Tree` and hand back a `Listing`; whatever
they do not claim is ignored with a reason, so no file can get lost between the buckets.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import UserError
from pipeline.datasets.notes import Notes
from pipeline.datasets.source.names import printable, raw
from pipeline.datasets.source.tree import Filed as Filed
from pipeline.datasets.source.tree import Tree as Tree
from pipeline.datasets.targets import Tally

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# never a matter of what the layout knows
ASTRAY = (
    "unsafe_name",
    "declared_too_large",
    "encrypted_member",
)


class Sample(NamedTuple):
    """One image and what belongs to it, before anything was decoded.

    `target` is the class index (ImageNet), the path of the mask (ADE20K), or the annotation record
    (COCO).
    """

    key: str
    image: str
    target: Any

    @property
    def annotations(self) -> int:
        """How many annotations the target has; 0 where it is a class or a mask."""
        return len(self.target["annotations"]) if isinstance(self.target, dict) else 0


class Class(NamedTuple):
    """A class at its index: `id` is what the raw data call it (synset, category id, mask value)."""

    id: int | str
    name: str


class Reassessed(NamedTuple):
    """Labels that somebody gave anew: the SHA-256 of their file, and class indices by key of a
    validation sample.
    """

    sha256: str
    labels: dict[str, list[int]]


@dataclass
class Listing:
    """What a raw source holds: samples per split and a bucket for every other file.

    `metadata` maps files that were read whole (annotations, class names) to their SHA-256,
    `folders` a split to the folder in which it was found, `tallies` a split to what became of
    annotations that belong to no sample.
    """

    root: Path
    classes: list[Class]
    splits: dict[str, list[Sample]]
    tree: Tree
    metadata: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    quarantined: list[Filed] = field(default_factory=list)
    ignored: list[Filed] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    real: Reassessed | None = None
    notes: Notes = field(default_factory=Notes)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        """Return a listed file's bytes; raises what `Place.read` raises."""
        return self.tree.files[path].read()

    def files_of(self, sample: Sample) -> list[str]:
        """Return the image of a sample, and its mask where it has one."""
        return [sample.image, sample.target] if isinstance(sample.target, str) else [sample.image]

    def files_in(self, split: str) -> list[str]:
        """Return the files that the samples of a split are made of."""
        return [path for sample in self.splits[split] for path in self.files_of(sample)]

    @property
    def listed(self) -> int:
        """Inputs in all buckets together: files found, and files that annotations name but that are
        missing.
        """
        samples = sum(len(self.files_in(split)) for split in self.splits)
        return (
            samples
            + len(self.metadata)
            + sum(entry.files for entry in (*self.quarantined, *self.ignored))
        )

    def digest(self) -> str:
        """Return the SHA-256 of all relative paths and sizes, and of the contents of metadata;
        ignored files aside.

        It is the same for an archive and for the folder that it unpacks to.
        """
        sizes = {path: place.size for path, place in self.tree.files.items()}
        used = [path for split in self.splits for path in self.files_in(split)]
        lines = [(path, sizes[path], "") for path in used]
        lines += [(path, sizes[path], content) for path, content in self.metadata.items()]
        lines += [
            (entry.path, sizes.get(entry.path, -1), entry.reason) for entry in self.quarantined
        ]

        digest = hashlib.sha256()
        for path, size, content in sorted(lines):
            digest.update(raw(path) + b"\0%d\0" % size + content.encode() + b"\n")
        if self.real is not None:
            digest.update(b"real labels\0" + self.real.sha256.encode() + b"\n")

        return digest.hexdigest()


def finish(listing: Listing, claimed: Iterable[str]) -> Listing:
    """File what no rule claimed as ignored (a folder outside the layout is one entry), and check
    that all add up.

    Args:
        listing: what the reader made of the tree.
        claimed: folders whose every file has its bucket already.
    """
    tree = listing.tree
    spoken_for = {entry.path for entry in listing.quarantined} | set(listing.metadata)
    prefixes = tuple(folder.rstrip("/") + "/" for folder in claimed)
    layout = {parent for path in (*prefixes, *listing.metadata) for parent in _parents(path)}

    groups: dict[str, int] = {}
    for path in tree.files:
        if path not in spoken_for and not path.startswith(prefixes):
            group = _outermost(path, layout)
            groups[group] = groups.get(group, 0) + 1
    listing.ignored += [
        *tree.ignored,
        *(Filed(group, "outside_layout", files=n) for group, n in groups.items()),
    ]

    for entry in tree.refused:
        counts = entry.path.startswith(prefixes) or entry.reason in ASTRAY
        bucket = listing.quarantined if counts else listing.ignored
        bucket.append(entry)

    listing.quarantined.sort()
    listing.ignored.sort()

    missing = sum(entry.reason == "missing_image" for entry in listing.quarantined)
    counted = len(tree.files) + len(tree.refused) + sum(entry.files for entry in tree.ignored)
    if listing.listed != counted + missing:
        raise RuntimeError(
            f"{listing.root}: {counted + missing} inputs listed, "
            f"but {listing.listed} in the buckets"
        )

    return listing


def _parents(path: str) -> list[str]:
    """Return the folders that hold a path, outermost first, each with its final /."""
    return [path[: i + 1] for i, letter in enumerate(path) if letter == "/"]


def _outermost(path: str, layout: set[str]) -> str:
    """Return the first folder on the way to a file that the layout does not know, or the file
    itself.
    """
    return next((parent for parent in _parents(path) if parent not in layout), path)


def wrong_layout(root: Path, expected: str, names: Iterable[str]) -> UserError:
    """Return the error for a source that is not what its data set looks like."""
    return UserError(f"{root}: expected {expected}; found {examples(names) or 'nothing'}")


def examples(names: Iterable[str], most: int = 6) -> str:
    """Return the first names in order, and how many more there are."""
    ordered = sorted(map(printable, names))
    return ", ".join(ordered[:most]) + (
        f" and {len(ordered) - most} more" if len(ordered) > most else ""
    )
