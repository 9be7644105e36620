"""CIFAR-10 as its official archive, read in place, or as photographs in folders per class.

The archive's `cifar-10-batches-py/` may lie unpacked in the source as well. Its rows are listed as
the files that they would be: `train/<class>/` and `test/<class>/`, PNG.
"""

from collections.abc import Callable
from typing import TypeVar

from pipeline.core.errors import UserError
from pipeline.datasets.cifar10.batches import PHOTOGRAPH, Photograph, read_batch, read_names
from pipeline.datasets.imagenet import imagenet
from pipeline.datasets.imagenet.imagenet import (
    IGNORE,
    RESIZABLE,
    complete,
    for_evaluation,
    groups,
    shuffled,
    target_bytes,
)
from pipeline.datasets.layout import Asked
from pipeline.datasets.listing import Listing, Tree
from pipeline.datasets.metadata import read_bytes
from pipeline.datasets.source import Archive

__all__ = [
    "ARCHIVES",
    "IGNORE",
    "RESIZABLE",
    "SPLITS",
    "complete",
    "for_evaluation",
    "groups",
    "scan",
    "shuffled",
    "target_bytes",
]

SPLITS = {"train": "train", "val": "test"}
FOLDER = "cifar-10-batches-py"
ARCHIVES = {"cifar-10-python.tar.gz": Archive(fills=(FOLDER, "train", "test"))}
NAMES = f"{FOLDER}/batches.meta"
BATCHES = {
    **{f"{FOLDER}/data_batch_{number}": "train" for number in range(1, 6)},
    f"{FOLDER}/test_batch": "test",
}
"""The batches, and the folder of the split whose photographs they hold."""

Content = TypeVar("Content")


def scan(tree: Tree, asked: Asked) -> Listing:
    """List a tree with CIFAR-10's batches, or with folders per class.

    Raises:
        UserError: as in ImageNet's layout; a batch is missing or is not one.
    """
    if not any(True for _ in tree.under(FOLDER)):
        return imagenet.scan(tree, asked, SPLITS)

    batches = {path: tree.files.get(path) for path in (NAMES, *BATCHES)}
    digests = _unfold(tree)
    listing = imagenet.scan(tree, asked, SPLITS)
    tree.files |= {path: place for path, place in batches.items() if place is not None}
    listing.metadata |= digests
    return listing


def _unfold(tree: Tree) -> dict[str, str]:
    """Put the photographs of the batches into the tree, in place of the batches; return the
    digests of those.
    """
    if missing := [path for path in (NAMES, *BATCHES) if path not in tree.files]:
        raise UserError(f"{tree.where(missing[0])} is missing; unpack the official archive again")
    batches = Listing(tree.root, [], {}, tree)
    classes = _parsed(batches, NAMES, read_names)
    splits = set(BATCHES.values())
    tree.folders += sorted(splits | {f"{split}/{name}" for split in splits for name in classes})

    for path, split in BATCHES.items():
        batch = _parsed(batches, path, lambda content: read_batch(content, len(classes)))
        place = tree.files.pop(path)
        for row, label in enumerate(batch.labels):
            name = f"{split}/{classes[label]}/{path.rpartition('/')[2]}-{row:05d}.png"
            tree.files[name] = Photograph(place, batch.start + row * PHOTOGRAPH)
    del tree.files[NAMES]
    return batches.metadata


def _parsed(batches: Listing, path: str, parse: Callable[[bytes], Content]) -> Content:
    content = read_bytes(batches, path)
    try:
        return parse(content)
    except ValueError as error:
        where = batches.tree.where(path)
        raise UserError(f"{where} is no part of CIFAR-10: {error}; get the archive again") from None
