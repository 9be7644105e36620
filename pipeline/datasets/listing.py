"""A raw folder as a list of files, each in exactly one bucket: kept, quarantined, or ignored by rule.

Nothing is opened here but directories. The readers of the three data sets claim files from a `Tree` and hand back a
`Listing`; whatever they do not claim is ignored with a reason, so no file can get lost between the buckets.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.source.place import Place, Whole
from pipeline.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db")


class Filed(NamedTuple):
    """An input and why it is not simply kept; `files` counts more than one where a whole folder is meant."""

    path: str
    reason: str
    detail: str = ""
    files: int = 1

    def record(self) -> dict[str, Any]:
        """Return the entry as it stands in inventories and manifests, without empty fields."""
        record: dict[str, Any] = {"path": self.path, "reason": self.reason}
        if self.detail:
            record["detail"] = self.detail
        if self.files != 1:
            record["files"] = self.files
        return record

    def __str__(self) -> str:
        """Return one printable line."""
        path = self.path if self.path.isprintable() else ascii(self.path)
        return f"{path}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


class Sample(NamedTuple):
    """One image and what belongs to it, before anything was decoded.

    `target` is the class index (ImageNet), the path of the mask (ADE20K), or the annotation record (COCO).
    """

    key: str
    image: str
    target: Any


class Class(NamedTuple):
    """A class at its index: `id` is what the raw data call it (synset, category id, mask value)."""

    id: int | str
    name: str


@dataclass
class Tree:
    """Every file below a folder: relative path (with /) to its place; links that lead nowhere are already refused."""

    root: Path
    files: dict[str, Place] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    refused: list[Filed] = field(default_factory=list)
    ignored: list[Filed] = field(default_factory=list)

    def under(self, folder: str) -> Iterator[str]:
        """Yield the files below `folder`, at any depth, as paths relative to the root."""
        prefix = folder.rstrip("/") + "/"
        return (path for path in self.files if path.startswith(prefix))

    def folders_in(self, folder: str) -> list[str]:
        """Return the names of the folders directly inside `folder`."""
        prefix = folder.rstrip("/") + "/"
        names = (path[len(prefix) :] for path in self.folders if path.startswith(prefix))
        return [name for name in names if "/" not in name]


@dataclass
class Listing:
    """What a raw folder holds: samples per split and a bucket for every other file.

    `metadata` maps files that were read whole (annotations, class names) to their SHA-256.
    """

    root: Path
    classes: list[Class]
    splits: dict[str, list[Sample]]
    tree: Tree
    metadata: dict[str, str] = field(default_factory=dict)
    quarantined: list[Filed] = field(default_factory=list)
    ignored: list[Filed] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

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
        """Inputs in all buckets together: files found, and files that annotations name but that are missing."""
        samples = sum(len(self.files_in(split)) for split in self.splits)
        return samples + len(self.metadata) + sum(entry.files for entry in (*self.quarantined, *self.ignored))

    def digest(self) -> str:
        """Return the SHA-256 of all relative paths and sizes, and of the contents of metadata; ignored files aside."""
        sizes = {path: place.size for path, place in self.tree.files.items()}
        used = [path for split in self.splits for path in self.files_in(split)]
        lines = [(path, sizes[path], "") for path in used]
        lines += [(path, sizes[path], content) for path, content in self.metadata.items()]
        lines += [(entry.path, sizes.get(entry.path, -1), entry.reason) for entry in self.quarantined]
        digest = hashlib.sha256()
        for path, size, content in sorted(lines):
            digest.update(os.fsencode(path) + b"\0%d\0" % size + content.encode() + b"\n")
        return digest.hexdigest()


def walk(root: Path) -> Tree:
    """List a folder to its depth, sorted by path; links are followed only where they stay inside.

    Raises:
        UserError: a folder cannot be read.
    """
    tree = Tree(root)
    top = os.path.realpath(root)
    _walk(tree, top, "", (top,))
    tree.files = dict(sorted(tree.files.items()))
    tree.folders.sort()
    return tree


def _walk(tree: Tree, top: str, inside: str, chain: tuple[str, ...]) -> None:
    """Add one folder; `chain` holds the real paths from the root to it, so that loops are seen."""
    try:
        entries = list(os.scandir(os.path.join(top, inside)))
    except OSError as error:
        raise UserError(f"cannot list {os.path.join(top, inside)}: {error.strerror}") from None
    for entry in entries:
        path = f"{inside}/{entry.name}" if inside else entry.name
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(chain[-1], entry.name)
        if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FILES:
            tree.ignored.append(Filed(path, "hidden", files=_count(entry)))
        elif (reason := _bad_link(entry, real, top, chain)) is not None:
            tree.refused.append(Filed(path, reason))
        elif entry.is_dir():
            tree.folders.append(path)
            _walk(tree, top, path, (*chain, real))
        elif entry.is_file():
            tree.files[path] = Whole(os.path.join(top, path), entry.stat().st_size)
        else:
            tree.refused.append(Filed(path, "not_a_file"))


def _bad_link(entry: "os.DirEntry[str]", real: str, top: str, chain: tuple[str, ...]) -> str | None:
    """Return why a link is not followed, or None."""
    if not entry.is_symlink():
        return None
    if not os.path.exists(real):
        return "dangling_link"
    if not real.startswith(top + os.sep):
        return "link_outside" if real != top else "link_loop"
    return "link_loop" if real in chain else None


def _count(entry: "os.DirEntry[str]") -> int:
    """Count the files of an ignored entry: one, or all below a folder."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(files) for _, _, files in os.walk(entry.path))


def finish(listing: Listing, claimed: Iterable[str]) -> Listing:
    """File what no rule claimed as ignored (a folder outside the layout is one entry), and check that all add up.

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
    listing.ignored += [*tree.ignored, *(Filed(group, "outside_layout", files=n) for group, n in groups.items())]
    for entry in tree.refused:
        bucket = listing.quarantined if entry.path.startswith(prefixes) else listing.ignored
        bucket.append(entry)
    listing.quarantined.sort()
    listing.ignored.sort()
    missing = sum(entry.reason == "missing_image" for entry in listing.quarantined)
    found = len(tree.files) + len(tree.refused) + sum(entry.files for entry in tree.ignored)
    if listing.listed != found + missing:
        raise RuntimeError(f"{listing.root}: {found + missing} inputs listed, but {listing.listed} in the buckets")
    return listing


def _parents(path: str) -> list[str]:
    """Return the folders that hold a path, outermost first, each with its final /."""
    return [path[: i + 1] for i, letter in enumerate(path) if letter == "/"]


def _outermost(path: str, layout: set[str]) -> str:
    """Return the first folder on the way to a file that the layout does not know, or the file itself."""
    return next((parent for parent in _parents(path) if parent not in layout), path)


def wrong_layout(root: Path, expected: str, found: Iterable[str]) -> UserError:
    """Return the error for a folder that is not what its data set looks like."""
    names = sorted(found)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return UserError(f"{root}: expected {expected}; found {shown or 'nothing'}")
