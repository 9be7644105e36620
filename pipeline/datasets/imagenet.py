"""ImageNet-1K: `train/<class>/*.JPEG`, and `val/<class>/*.JPEG` or `val/*.JPEG` with the development kit.

The sorted class folders of the training split are the class indices. Readable names are those of
LOC_synset_mapping.txt, or else of the development kit. Any data set in folders per class reads the same way.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from pipeline.datasets import devkit, keys
from pipeline.datasets.images import RefusedError
from pipeline.datasets.listing import IMAGE_SUFFIXES, Class, Filed, Listing, Sample, Tree, finish, wrong_layout
from pipeline.datasets.metadata import read_text
from pipeline.datasets.source import Archive
from pipeline.datasets.targets import Target
from pipeline.errors import UserError

SPLITS = {"train": "train", "val": "val"}
ARCHIVES = {
    "ILSVRC2012_img_train.tar": Archive(fills=("train",), at="train", nested=True),
    "ILSVRC2012_img_val.tar": Archive(fills=("val",), at="val"),
    "ILSVRC2012_devkit_t12.tar.gz": Archive(fills=(devkit.FOLDER,)),
}
NAMES_FILE = "LOC_synset_mapping.txt"
MEMBER = "cls"
IGNORE = None
RESIZABLE = True
NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.(jpeg|jpg|png)", re.IGNORECASE)
Images = dict[str, list[str]]
"""The paths of images by their class, classes without images included."""


def scan(tree: Tree, splits: Mapping[str, str]) -> Listing:
    """List a tree in ImageNet's layout.

    Raises:
        UserError: a split is missing or has no classes, a class of `val` is not in `train`, or the ground truth does
            not have a line for each validation image.
    """
    listing = Listing(tree.root, [], {}, tree)
    synsets = devkit.read_synsets(listing) if devkit.META in tree.files else {}
    found = {split: _images(listing, folder, split == "train", synsets) for split, folder in splits.items()}
    wnids = sorted(found["train"])
    if len(wnids) < 2:
        raise wrong_layout(tree.root, f"at least two class folders in {splits['train']}/", wnids)
    _check_classes(listing, found, splits)
    words = {synset.wnid: synset.words for synset in synsets.values()}
    listing.classes = [Class(wnid, name) for wnid, name in _names(listing, wnids, words).items()]
    index = {wnid: i for i, wnid in enumerate(wnids)}
    for split, folder in splits.items():
        images = [(path, index[wnid]) for wnid, paths in found[split].items() for path in paths]
        named = keys.assign([path for path, _ in images])
        listing.splits[split] = sorted(Sample(key, *image) for key, image in zip(named, images, strict=True))
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
) -> Target:
    """Return the class index as text, and the class shown."""
    if not isinstance(sample.target, int):
        raise RefusedError("no_class")
    return Target(str(sample.target).encode(), [sample.target])


def _images(listing: Listing, folder: str, by_class: bool, synsets: Mapping[int, devkit.Synset]) -> Images:
    """Return a split's images from its class folders, or from a flat folder by the ground truth."""
    tree = listing.tree
    if names := tree.folders_in(folder):
        return _by_class(tree, folder, names)
    if not by_class and devkit.TRUTH in tree.files and _files_in(tree, folder):
        return _by_truth(listing, folder, devkit.read_labels(listing, synsets or devkit.read_synsets(listing)))
    flat = "" if by_class else ", or images there and the development kit beside it"
    raise wrong_layout(tree.root, f"class folders with images in {folder}/{flat}", _around(tree, folder))


def _by_class(tree: Tree, folder: str, names: Sequence[str]) -> Images:
    images: Images = {name: [] for name in sorted(names)}
    depth = folder.rstrip("/").count("/") + 1
    for path in tree.under(folder):
        parts = path.split("/")
        if len(parts) == depth + 2 and _is_image(tree, path):
            images[parts[depth]].append(path)
    return images


def _by_truth(listing: Listing, folder: str, labels: Sequence[str]) -> Images:
    """Give each image the label that stands in the line of its number.

    Raises:
        UserError: there are more lines than images, or fewer.
    """
    images: Images = {wnid: [] for wnid in sorted(set(labels))}
    numbers = []
    for path in _files_in(listing.tree, folder):
        if (match := NUMBERED.fullmatch(os.path.basename(path))) is not None:
            numbers.append(number := int(match[1]))
            if 0 < number <= len(labels) and _is_image(listing.tree, path):
                images[labels[number - 1]].append(path)
    if sorted(numbers) != list(range(1, len(labels) + 1)):
        wrong = sorted(set(range(1, len(labels) + 1)) ^ set(numbers)) or sorted(numbers)
        raise UserError(
            f"{listing.tree.where(devkit.TRUTH)} has {len(labels)} lines, but {folder}/ has {len(numbers)} images "
            f"called ILSVRC2012_val_*; the first number that differs is {wrong[0]}"
        )
    return images


def _files_in(tree: Tree, folder: str) -> list[str]:
    """Return the files directly in a folder."""
    depth = folder.rstrip("/").count("/") + 2
    return [path for path in tree.under(folder) if len(path.split("/")) == depth]


def _is_image(tree: Tree, path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES) and tree.files[path].size > 0


def _around(tree: Tree, folder: str) -> list[str]:
    """Return what lies where class folders should: in the split's folder, or beside it where there is none."""
    inside = [path[len(folder) + 1 :] for path in tree.under(folder)]
    return inside or tree.at_top()


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


def _names(listing: Listing, wnids: Sequence[str], words: Mapping[str, str]) -> dict[str, str]:
    """Return a readable name for each class folder, in order; its own name where nothing gives one."""
    names = {wnid: words.get(wnid, "") for wnid in wnids}
    if NAMES_FILE in listing.tree.files:
        for line in read_text(listing, NAMES_FILE).splitlines():
            wnid, _, name = line.partition(" ")
            if wnid in names:
                names[wnid] = name.strip()
        if unnamed := [wnid for wnid, name in names.items() if not name]:
            listing.warnings.append(f"{NAMES_FILE} does not name {', '.join(unnamed)}")
    return {wnid: name or wnid for wnid, name in names.items()}


def _strays(tree: Tree, folder: str, used: set[str]) -> list[Filed]:
    """Return the files of a split that are not samples, each with its reason."""
    levels = 1 if tree.folders_in(folder) else 0  # between the split's folder and its images
    depth = folder.rstrip("/").count("/") + 2 + levels
    strays = []
    for path in tree.under(folder):
        if path in used:
            continue
        if len(path.split("/")) != depth:
            reason = "outside_layout"
        elif tree.files[path].size == 0:
            reason = "empty"
        else:
            reason = "not_in_ground_truth" if _is_image(tree, path) else "not_an_image"
        detail = os.path.splitext(path)[1] if reason == "not_an_image" else ""
        strays.append(Filed(path, reason, detail))
    return strays
