"""ImageNet-1K's folders: `train/<class>/*.JPEG` and `val/<class>/*.JPEG`, one folder per class.

The sorted class folders of the training split are the class indices; LOC_synset_mapping.txt, where it lies beside
them, gives readable names. Any data set in folders per class reads the same way.
"""

import os
from collections.abc import Callable, Mapping, Sequence

from pipeline.datasets import keys
from pipeline.datasets.images import RefusedError
from pipeline.datasets.listing import (
    IMAGE_SUFFIXES,
    Class,
    Filed,
    Listing,
    Sample,
    Tree,
    finish,
    wrong_layout,
)
from pipeline.datasets.metadata import read_text

SPLITS = {"train": "train", "val": "val"}
NAMES_FILE = "LOC_synset_mapping.txt"
MEMBER = "cls"
IGNORE = None
RESIZABLE = True


def scan(tree: Tree, splits: Mapping[str, str]) -> Listing:
    """List a folder in ImageNet's layout.

    Raises:
        UserError: a split is missing, holds no class folders, or a class of `val` is not in `train`.
    """
    root = tree.root
    found = {split: _by_class(tree, folder) for split, folder in splits.items()}
    synsets = sorted(found["train"])
    if len(synsets) < 2:
        raise wrong_layout(root, f"at least two class folders in {splits['train']}/", synsets)
    listing = Listing(root, [], {}, tree)
    _check_classes(listing, found, splits)
    listing.classes = [Class(synset, name) for synset, name in _names(listing, synsets).items()]
    index = {synset: i for i, synset in enumerate(synsets)}
    for split, folder in splits.items():
        images = [(path, index[synset]) for synset, paths in found[split].items() for path in paths]
        images.sort()
        named = keys.assign([path for path, _ in images])
        listing.splits[split] = [Sample(key, *image) for key, image in zip(named, images, strict=True)]
        listing.quarantined += _strays(tree, folder, {path for path, _ in images})
    return finish(listing, splits.values())


def shuffled(split: str) -> bool:
    """Return whether samples of a split are shuffled into shards: sorted by class, a block would hold few classes."""
    return split == "train"


def target_bytes(
    read: Callable[[str], bytes],
    sample: Sample,
    size: tuple[int, int],
    classes: Sequence[Class],
    max_pixels: int,
) -> tuple[bytes, list[int]]:
    """Return the class index as text, and the classes shown."""
    if not isinstance(sample.target, int):
        raise RefusedError("no_class")
    return str(sample.target).encode(), [sample.target]


def _by_class(tree: Tree, folder: str) -> dict[str, list[str]]:
    """Return the images of each class folder, empty folders included."""
    names = tree.folders_in(folder)
    if not names:
        raise wrong_layout(tree.root, f"class folders with images in {folder}/", _around(tree, folder))
    images: dict[str, list[str]] = {name: [] for name in sorted(names)}
    depth = folder.rstrip("/").count("/") + 1
    for path in tree.under(folder):
        parts = path.split("/")
        if len(parts) == depth + 2 and _is_image(tree, path):
            images[parts[depth]].append(path)
    return images


def _is_image(tree: Tree, path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES) and tree.files[path].size > 0


def _around(tree: Tree, folder: str) -> list[str]:
    """Return what lies where class folders should: in the split's folder, or beside it where there is none."""
    inside = [path[len(folder) + 1 :] for path in tree.under(folder)]
    return inside or sorted({path.split("/")[0] for path in (*tree.folders, *tree.files)})


def _check_classes(listing: Listing, found: Mapping[str, Mapping[str, list[str]]], splits: Mapping[str, str]) -> None:
    """Stop at training classes without images and at unknown classes; warn of classes that a split lacks."""
    train = found["train"]
    if empty := [name for name, images in train.items() if not images]:
        raise wrong_layout(
            listing.root,
            f"images directly in every class folder of {splits['train']}/",
            [f"none in {name}/" for name in empty],
        )
    for split, classes in found.items():
        if unknown := sorted(set(classes) - set(train)):
            raise wrong_layout(listing.root, f"the classes of {splits['train']}/ in {splits[split]}/", unknown)
        if lacking := sorted(name for name in train if not classes.get(name)):
            names = ", ".join(lacking)
            listing.warnings.append(f"{splits[split]}/ lacks {len(lacking)} of {len(train)} classes: {names}")


def _names(listing: Listing, synsets: Sequence[str]) -> dict[str, str]:
    """Return a readable name for each class folder, in order; its own name where the mapping has none."""
    names = dict.fromkeys(synsets, "")
    if NAMES_FILE in listing.tree.files:
        for line in read_text(listing, NAMES_FILE).splitlines():
            synset, _, name = line.partition(" ")
            if synset in names:
                names[synset] = name.strip()
        if unnamed := [synset for synset, name in names.items() if not name]:
            listing.warnings.append(f"{NAMES_FILE} does not name {', '.join(unnamed)}")
    return {synset: name or synset for synset, name in names.items()}


def _strays(tree: Tree, folder: str, used: set[str]) -> list[Filed]:
    """Return the files of a split that are not samples, each with its reason."""
    depth = folder.rstrip("/").count("/") + 3
    strays = []
    for path in tree.under(folder):
        if path in used:
            continue
        if len(path.split("/")) != depth:
            reason = "outside_layout"
        elif tree.files[path].size == 0:
            reason = "empty"
        else:
            reason = "not_an_image"
        detail = os.path.splitext(path)[1] if reason == "not_an_image" else ""
        strays.append(Filed(path, reason, detail))
    return strays
