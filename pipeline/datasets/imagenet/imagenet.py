"""ImageNet-1K: `train/<class>/*.JPEG`, and `val/<class>/*.JPEG` or a flat `val/*.JPEG` with its
labels.

The labels of a flat `val` are those of the development kit, or of Kaggle's LOC_val_solution.csv.
The sorted class folders of the training split are the class indices. Readable names are those of
LOC_synset_mapping.txt, or else of the development kit. Any data set in folders per class reads the
same way.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.datasets import keys
from pipeline.datasets.imagenet import devkit, real, solution
from pipeline.datasets.imagenet.about import ImageNet
from pipeline.datasets.images import RefusedError
from pipeline.datasets.layout import Asked, folders
from pipeline.datasets.listing import (
    IMAGE_SUFFIXES,
    Class,
    Filed,
    Listing,
    Sample,
    Tree,
    examples,
    finish,
    wrong_layout,
)
from pipeline.datasets.metadata import read_text
from pipeline.datasets.source import Archive
from pipeline.datasets.source.names import printable, respelled
from pipeline.datasets.targets import Target
from pipeline.params.data import Dataset, RemoteFile

SPLITS = {"train": "train", "val": "val"}
ARCHIVES = {
    "ILSVRC2012_img_train.tar": Archive(fills=("train",), at="train", top="train", nested=True),
    "ILSVRC2012_img_val.tar": Archive(fills=("val",), at="val", top="val"),
    "ILSVRC2012_devkit_t12.tar.gz": Archive(fills=(devkit.FOLDER,)),
}
AROUND = ("", "ILSVRC/Data/CLS-LOC/", "Data/CLS-LOC/")
"""What lies around the folders of the splits: nothing, or Kaggle's folders."""
NAMES_FILE = "LOC_synset_mapping.txt"
IGNORE = None
RESIZABLE = True
NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.(jpeg|jpg|png)", re.IGNORECASE)
Images = dict[str, list[str]]
"""The paths of images by their class, classes without images included."""


def scan(tree: Tree, asked: Asked, official: Mapping[str, str] = SPLITS) -> Listing:
    """List a tree in ImageNet's layout, whose splits lie in the `official` folders.

    Raises:
        UserError: a split is missing or has no classes, a class of `val` is not in `train`, or the
            ground truth does not have a line for each validation image.
    """
    listing = Listing(tree.root, [], {}, tree)
    listing.folders = splits = folders(tree, asked, official, AROUND)
    synsets = devkit.read_synsets(listing) if devkit.META in tree.files else {}
    images_of = {
        split: _images(listing, split, folder, asked, synsets) for split, folder in splits.items()
    }

    wnids = sorted(images_of["train"])
    if len(wnids) < 2:
        raise wrong_layout(tree.root, f"at least two class folders in {splits['train']}/", wnids)
    images_of = {
        split: _respelled(images, images_of["train"]) for split, images in images_of.items()
    }
    _check_classes(listing, images_of, splits)

    words = {synset.wnid: synset.words for synset in synsets.values()}
    listing.classes = [Class(wnid, name) for wnid, name in _names(listing, wnids, words).items()]
    index = {wnid: i for i, wnid in enumerate(wnids)}

    for split, folder in splits.items():
        images = [(path, index[wnid]) for wnid, paths in images_of[split].items() for path in paths]
        named = keys.assign([path for path, _ in images])
        listing.splits[split] = sorted(
            Sample(key, *image) for key, image in zip(named, images, strict=True)
        )
        listing.quarantined += _strays(tree, folder, {path for path, _ in images})

    return finish(listing, splits.values())


def complete(
    listing: Listing, name: str, asked: Dataset, local: Callable[[str | RemoteFile], Path]
) -> None:
    """Add the reassessed labels, where the section names some."""
    if isinstance(asked, ImageNet) and asked.real_labels is not None:
        real.attach(listing, local(asked.real_labels), name)


def groups(samples: Sequence[Sample]) -> dict[str, int | None]:
    """Return the class of each sample by its key."""
    return {sample.key: sample.target for sample in samples}


def for_evaluation(sample: Sample) -> Sample:
    """Return a sample of the training split as the validation split holds it: the same."""
    return sample


def shuffled(split: str) -> bool:
    """Return whether samples of a split are shuffled into shards: sorted by class, a block would
    hold few classes.
    """
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


def _images(
    listing: Listing, split: str, folder: str, asked: Asked, synsets: Mapping[int, devkit.Synset]
) -> Images:
    """Return a split's images from its class folders, or from a flat folder by its labels."""
    tree = listing.tree
    if names := tree.folders_in(folder):
        return _by_class(tree, folder, names)
    if split != "train" and _files_in(tree, folder):
        if devkit.TRUTH in tree.files:
            return _by_truth(
                listing,
                folder,
                devkit.read_labels(listing, synsets or devkit.read_synsets(listing)),
            )
        if solution.NAME in tree.files:
            return _by_name(listing, folder, solution.read(listing))

    if packed := _packed(tree, folder):
        raise UserError(
            f"{tree.root}: expected class folders with images in {folder}/; found archives: "
            f"{examples(packed)}; unpack "
            "each into a folder of its name, or put the official archive that holds them into "
            "the source itself"
        )

    flat = (
        ""
        if split == "train"
        else f", or images there and the development kit beside it (or {solution.NAME})"
    )
    wrong = wrong_layout(
        tree.root, f"class folders with images in {folder}/{flat}", _around(tree, folder)
    )
    archives = f"; archives are read as {', '.join(ARCHIVES)}" if _packed(tree, "") else ""
    raise UserError(f"{wrong}; {asked.advice(split, tree, folder)}{archives}")


def _packed(tree: Tree, folder: str) -> list[str]:
    """Return the archives in a folder that are not read."""
    unread = (entry.path for entry in tree.ignored if entry.reason == "nested_archive")
    return [path for path in unread if os.path.dirname(path) == folder]


def _respelled(images: Images, train: Images) -> Images:
    """Return a split's images under the training split's spelling of their classes."""
    names = respelled(images, train)
    return {names.get(name, name): paths for name, paths in images.items()}


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
            f"{listing.tree.where(devkit.TRUTH)} has {len(labels)} lines, but {folder}/ has "
            f"{len(numbers)} images "
            f"called ILSVRC2012_val_*; the first number that differs is {wrong[0]}"
        )

    return images


def _by_name(listing: Listing, folder: str, labels: Mapping[str, str]) -> Images:
    """Give each image the label of its name; names without an image are quarantined."""
    tree = listing.tree
    images: Images = {wnid: [] for wnid in sorted(set(labels.values()))}
    stems = {
        _stem(path): path
        for path in _files_in(tree, folder)
        if path.lower().endswith(IMAGE_SUFFIXES)
    }
    spelling = respelled(labels, stems)

    for name, wnid in labels.items():
        path = stems.get(spelling.get(name, name))
        if path is None:
            listing.quarantined.append(
                Filed(f"{folder}/{name}.JPEG", "missing_image", f"named in {solution.NAME}")
            )
        elif _is_image(tree, path):
            images[wnid].append(path)

    return images


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _files_in(tree: Tree, folder: str) -> list[str]:
    """Return the files directly in a folder."""
    depth = folder.rstrip("/").count("/") + 2
    return [path for path in tree.under(folder) if len(path.split("/")) == depth]


def _is_image(tree: Tree, path: str) -> bool:
    return path.lower().endswith(IMAGE_SUFFIXES) and tree.files[path].size > 0


def _around(tree: Tree, folder: str) -> list[str]:
    """Return what lies where class folders should: in the split's folder, or beside it where there
    is none.
    """
    inside = [path[len(folder) + 1 :] for path in tree.under(folder)]
    return inside or tree.at_top()


def _check_classes(
    listing: Listing, images_of: Mapping[str, Mapping[str, list[str]]], splits: Mapping[str, str]
) -> None:
    """Stop at training classes without images and at unknown classes; warn of classes that a split
    lacks.
    """
    train = images_of["train"]
    if empty := [name for name, images in train.items() if not images]:
        raise wrong_layout(
            listing.root,
            f"images directly in every class folder of {splits['train']}/",
            [f"none in {name}/" for name in empty],
        )
    for split, classes in images_of.items():
        if unknown := sorted(set(classes) - set(train)):
            raise wrong_layout(
                listing.root, f"the classes of {splits['train']}/ in {splits[split]}/", unknown
            )
        if lacking := sorted(name for name in train if not classes.get(name)):
            names = ", ".join(map(printable, lacking))
            listing.warnings.append(
                f"{splits[split]}/ lacks {len(lacking)} of {len(train)} classes: {names}"
            )


def _names(listing: Listing, wnids: Sequence[str], words: Mapping[str, str]) -> dict[str, str]:
    """Return a readable name for each class folder, in order; its own name where nothing gives
    one.
    """
    names = {wnid: words.get(wnid, "") for wnid in wnids}

    if NAMES_FILE in listing.tree.files:
        lines = [line.partition(" ") for line in read_text(listing, NAMES_FILE).splitlines()]
        listed = {wnid: name.strip() for wnid, _, name in lines}
        spelling = respelled(wnids, listed)
        names = {wnid: listed.get(spelling.get(wnid, wnid)) or name for wnid, name in names.items()}
        if unnamed := [wnid for wnid, name in names.items() if not name]:
            listing.warnings.append(f"{NAMES_FILE} does not name {examples(unnamed)}")

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
