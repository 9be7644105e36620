"""ADEChallengeData2016: `images/{training,validation}`, masks of the same names in `annotations/`,
objectInfo150.txt.

A mask is a PNG with one channel: 0 is what nobody labelled and is ignored, value v is the v-th row
of the list of names. Masks keep their bytes; whoever decodes one maps v to class v - 1, once.
"""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.core.errors import UserError
from pipeline.datasets import keys
from pipeline.datasets.images import INDEX_MASK, RefusedError, check_mask
from pipeline.datasets.layout import Asked, folders
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
from pipeline.datasets.notes import Notes, brief
from pipeline.datasets.source import Archive
from pipeline.datasets.source.names import respelled
from pipeline.datasets.targets import UNLABELLED, Tally, Target
from pipeline.params.data import Dataset, RemoteFile

SPLITS = {"train": "training", "val": "validation"}
ARCHIVES = {
    "ADEChallengeData2016.zip": Archive(
        fills=("ADEChallengeData2016", "images", "annotations", "objectInfo150.txt"),
        top="ADEChallengeData2016",
    )
}
NAMES_FILE = "objectInfo150.txt"
IGNORE = 0
RESIZABLE = False
LOOKED_AT = 3
"""Masks of a split that are opened before any shard is written."""
INDEX_MODES = ("L", "P", "1")
REMEDIES = {
    "I;16": "save 16-bit masks again as 8-bit ones (uint8, values as they are)",
    "LA": "save these masks again without their alpha channel",
    "RGB": "class numbers are read, as in ADEChallengeData2016, and not the full "
    "ADE20K, which codes them in "
    "colours: write a number for each colour",
}


def scan(tree: Tree, asked: Asked) -> Listing:
    """List a folder in the challenge's layout.

    Raises:
        UserError: a folder or the list of names is missing, or the masks are those of the full
            ADE20K.
    """
    root = tree.root
    if NAMES_FILE not in tree.files:
        raise wrong_layout(root, f"{NAMES_FILE}, images/ and annotations/", tree.at_top())
    listing = Listing(root, [], {}, tree)
    listing.folders = splits = folders(tree, asked, SPLITS, inside="images/")
    listing.classes = _names(listing)

    claimed: list[str] = []
    for split, folder in splits.items():
        pair = (f"images/{folder}", f"annotations/{folder}")
        for path in pair:
            if path not in tree.folders:
                wrong = wrong_layout(root, f"a folder {path}/", tree.folders)
                raise UserError(f"{wrong}; {asked.advice(split, tree, path)}")
            if inner := tree.folders_in(path):
                raise wrong_layout(
                    root, f"files directly in {path}/, as in ADEChallengeData2016", inner
                )
        _split(listing, split, *pair)
        claimed += pair

    return finish(listing, claimed)


def complete(
    listing: Listing, name: str, asked: Dataset, local: Callable[[str | RemoteFile], Path]
) -> None:
    """Add nothing: the source holds all there is."""


def groups(samples: Sequence[Sample]) -> dict[str, int | None]:
    """Return one group for all: which classes a mask shows, only its pixels say."""
    return {sample.key: None for sample in samples}


def for_evaluation(sample: Sample) -> Sample:
    """Return a sample of the training split as the validation split holds it: the same."""
    return sample


def shuffled(split: str) -> bool:
    """Return False: files are numbered without regard to their content."""
    return False


def target_bytes(
    read: Callable[[str], bytes],
    sample: Sample,
    size: tuple[int, int],
    classes: Sequence[Class],
    max_pixels: int,
) -> Target:
    """Return the mask's own bytes, the indices of the classes in it, and how many of its pixels are
    labelled.

    Raises:
        RefusedError: the mask is damaged, not an index mask, of another size, or holds a value
            without a name.
    """
    data = read(sample.target)
    pixels = check_mask(data, size, len(classes), max_pixels)
    unlabelled = pixels.pop(IGNORE, 0)

    tally = Tally()
    notes = Notes()
    tally.drop(UNLABELLED, unlabelled)
    tally.listed += sum(pixels.values())
    tally.seen += sum(pixels.values())

    if not pixels:
        notes.add("unlabelled_mask", sample.target)

    return Target(data, [value - 1 for value in pixels], tally, notes)


def _names(listing: Listing) -> list[Class]:
    """Return the classes of the list of names: mask value and name, in order."""
    path = listing.root / NAMES_FILE
    header, *lines = [
        line.split("\t") for line in read_text(listing, NAMES_FILE).splitlines() if line.strip()
    ] or [[]]
    columns = [column.strip() for column in header]
    if "Idx" not in columns or "Name" not in columns:
        raise UserError(
            f"{path}: expected tab-separated columns with a header that has Idx and Name, as in "
            f"ADEChallengeData2016; its first line is {' '.join(header)[:80]!r}"
        )

    index = columns.index("Idx")
    name = columns.index("Name")
    classes = []
    for number, line in enumerate(lines, start=1):
        if len(line) <= max(index, name) or line[index].strip() != str(number):
            raise UserError(
                f"{path}: row {number} should be class {number}, found {' '.join(line)[:80]!r}; "
                "Idx counts from 1, "
                "as the masks' values do (0 is ignored and has no row)"
            )
        classes.append(Class(number, line[name].strip()))

    if not 0 < len(classes) < 256:
        raise UserError(
            f"{path}: {len(classes)} classes; an 8-bit mask has room for 1 to 255 of them beside 0"
        )

    return classes


def _split(listing: Listing, split: str, images: str, masks: str) -> None:
    """Pair images with masks by name, and file what has no partner."""
    tree = listing.tree
    pictures = _by_stem(listing, images, IMAGE_SUFFIXES, "not_an_image")
    labels = _by_stem(listing, masks, (".png",), "mask_not_png")
    spelling = {theirs: ours for ours, theirs in respelled(pictures, labels).items()}
    labels = {spelling.get(stem, stem): path for stem, path in labels.items()}
    pairs = sorted((pictures[stem], labels[stem]) for stem in pictures.keys() & labels.keys())

    if not pairs:
        raise wrong_layout(
            tree.root,
            f"images in {images}/ with masks of the same names (a.jpg with a.png) in {masks}/",
            [*tree.under(images), *tree.under(masks)],
        )

    _check_channels(listing, [mask for _, mask in pairs[:LOOKED_AT]])
    listing.quarantined += [
        Filed(pictures[stem], "no_mask") for stem in pictures.keys() - labels.keys()
    ]
    listing.quarantined += [
        Filed(labels[stem], "no_image") for stem in labels.keys() - pictures.keys()
    ]

    named = keys.assign([image for image, _ in pairs])
    listing.splits[split] = [Sample(key, *pair) for key, pair in zip(named, pairs, strict=True)]


def _by_stem(
    listing: Listing, folder: str, suffixes: tuple[str, ...], otherwise: str
) -> dict[str, str]:
    """Return the usable files of a folder by their name without extension; the others are
    quarantined.
    """
    tree = listing.tree
    paths = dict[str, str]()

    for path in tree.under(folder):
        stem, suffix = os.path.splitext(os.path.basename(path))
        if suffix.lower() not in suffixes:
            listing.quarantined.append(Filed(path, otherwise, suffix))
        elif tree.files[path].size == 0:
            listing.quarantined.append(Filed(path, "empty"))
        elif stem in paths:
            raise UserError(
                f"{tree.root}: {paths[stem]} and {path} differ in their extension only; remove "
                "one of them"
            )
        else:
            paths[stem] = path

    return paths


def _check_channels(listing: Listing, masks: Sequence[str]) -> None:
    """Stop where the first mask holds no class numbers: all of them were made the same way."""
    modes = {
        mask: mode for mask in masks if (mode := _mode(listing, mask)) not in (None, *INDEX_MODES)
    }

    if masks[0] in modes:
        mode = modes.pop(masks[0])
        others = f" (also {brief(modes)})" if modes else ""
        raise UserError(
            f"{listing.tree.where(masks[0])}{others}: {INDEX_MASK}, found mode {mode}; "
            f"{REMEDIES.get(mode, REMEDIES['RGB'])}"
        )


def _mode(listing: Listing, mask: str) -> str | None:
    """Return a mask's mode, or None where it is damaged: it is refused by name when the shards are
    written.
    """
    try:
        with Image.open(io.BytesIO(listing.read(mask)), formats=("PNG",)) as image:
            return image.mode
    except (RefusedError, UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
