"""COCO 2017: `train2017/`, `val2017/` and `annotations/instances_<folder>.json`, or others that
`layout` knows.

Annotations keep their original category ids (the manifest maps them to class indices and back) and
crowds their run lengths. `val` carries the official ground truth as it is, boxes of zero area too,
because each annotation counts in what an evaluation divides by; in `train` boxes without area are
dropped and boxes over the edge are clipped. What no evaluator can read is dropped in both
(`instances` says what that is). Every annotation is counted (`Tally`).
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.datasets import keys
from pipeline.datasets.coco import instances
from pipeline.datasets.images import RefusedError
from pipeline.datasets.layout import Asked, annotation_file, folders
from pipeline.datasets.listing import IMAGE_SUFFIXES, Class, Filed, Listing, Sample, Tree, finish
from pipeline.datasets.notes import Notes, brief
from pipeline.datasets.source import Archive
from pipeline.datasets.source.names import respelled
from pipeline.datasets.targets import REFUSED_IMAGE, Tally, Target
from pipeline.params.data import Dataset, RemoteFile

SPLITS = {"train": "train2017", "val": "val2017"}
ARCHIVES = {
    "train2017.zip": Archive(fills=("train2017",)),
    "val2017.zip": Archive(fills=("val2017",)),
    "annotations_trainval2017.zip": Archive(fills=("annotations",)),
}
AROUND = ("", "images/")
"""What may lie around the folders of the splits."""
IGNORE = None
RESIZABLE = False
RECORD = ("image_id", "file_name", "width", "height")


def scan(tree: Tree, asked: Asked) -> Listing:
    """List a folder in COCO's layout; its annotations are read whole.

    Raises:
        UserError: a folder or file is missing, ids repeat, or an annotation names an unknown
            category or image.
    """
    root = tree.root
    listing = Listing(root, [], {}, tree)
    categories: dict[str, list[Class]] = {}
    named: dict[str, set[str]] = {}
    listing.folders = splits = folders(tree, asked, SPLITS, AROUND, shared="images")

    for split, folder in splits.items():
        path = annotation_file(tree, asked, split, folder)
        rows = instances.read(listing, path)
        categories[path] = _categories(root / path, rows["categories"])
        named[split] = _split(listing, split, folder, root / path, rows)
    _check_partners(listing, named)

    (first, classes), *others = categories.items()
    for path, other_classes in others:
        if differing := sorted({*other_classes} ^ {*classes}):
            texts = [
                f"{row.id} {row.name!r} ({first if row in classes else path} alone)"
                for row in differing
            ]
            raise UserError(
                f"{root}: {first} and {path} list different categories: {brief(texts)}; give "
                "both files the same "
                "list, ids and names"
            )

    listing.classes = classes
    return finish(listing, splits.values())


def complete(
    listing: Listing, name: str, asked: Dataset, local: Callable[[str | RemoteFile], Path]
) -> None:
    """Add nothing: the source holds all there is."""


def groups(samples: Sequence[Sample]) -> dict[str, int | None]:
    """Return for each sample by its key the category in it that fewest images show, None where it
    has none.
    """
    categories_of = {
        sample.key: {row["category_id"] for row in sample.target["annotations"]}
        for sample in samples
    }
    images = Counter(category for categories in categories_of.values() for category in categories)
    return {
        key: min(categories, key=lambda category: (images[category], category), default=None)
        for key, categories in categories_of.items()
    }


def for_evaluation(sample: Sample) -> Sample:
    """Return a sample of the training split as the validation split holds it: with its boxes as
    they are.
    """
    return sample._replace(target={**sample.target, "exact": True})


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
    """Return the annotation record as JSON, the indices of the classes in it, and what became of
    each annotation.

    Raises:
        RefusedError: size_mismatch, where boxes would be in another frame than the pixels.
    """
    rows: dict[str, Any] = sample.target
    width = rows["width"]
    height = rows["height"]
    if size != (width, height):
        raise RefusedError(
            "size_mismatch", f"image {size[0]}x{size[1]}, annotations for {width}x{height}"
        )

    tally = Tally()
    notes = Notes()
    cleaned = [
        instances.clean(row, width, height, rows["exact"], sample.image, tally, notes)
        for row in rows["annotations"]
    ]
    annotations = [row for row in cleaned if row is not None]

    if not annotations:
        notes.add("no_annotations", sample.image)

    record = {name: rows[name] for name in RECORD} | {"annotations": annotations}
    index = {category.id: i for i, category in enumerate(classes)}
    present = sorted({index[annotation["category_id"]] for annotation in annotations})

    return Target(
        json.dumps(record, separators=(",", ":"), sort_keys=True).encode(), present, tally, notes
    )


def _categories(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Class]:
    """Return the categories by ascending id; the position is the class index."""
    if not rows:
        raise UserError(
            f"{path}: 'categories' is empty; it should list an id and a name for each class"
        )
    return sorted(Class(row["id"], row["name"]) for row in rows)


def _split(
    listing: Listing, split: str, folder: str, path: Path, rows: Mapping[str, list[instances.Row]]
) -> set[str]:
    """Join one split's images to their annotations, file images that are not there, and return all
    that are named.
    """
    by_image = _by_image(path, rows)
    tally = listing.tallies.setdefault(split, Tally())
    records = []
    places = _places(listing.tree, folder, [image["file_name"] for image in rows["images"]])

    for image in rows["images"]:
        name = places[image["file_name"]]
        annotations = by_image.get(image["id"], [])
        if (reason := _refusal(listing.tree, name)) is not None:
            listing.quarantined.append(Filed(name, reason))
            tally.drop(REFUSED_IMAGE, len(annotations))
        else:
            records.append((name, _rows(image, annotations, exact=split != "train")))

    times = Counter(places[image["file_name"]] for image in rows["images"])
    if repeated := [name for name, count in times.items() if count > 1]:
        raise UserError(
            f"{path}: two images share a file name: {brief(repeated)}; merge their entries in "
            "'images' into one, "
            "with the annotations of both"
        )

    records.sort(key=lambda pair: pair[0])
    assigned = keys.assign([name for name, _ in records])
    listing.splits[split] = [
        Sample(key, *pair) for key, pair in zip(assigned, records, strict=True)
    ]

    return set(times)


def _check_partners(listing: Listing, named: Mapping[str, set[str]]) -> None:
    """File images that no annotations name; stop at one that those of two splits name."""
    first, *others = named.values()
    if twice := sorted(first.intersection(*others) if others else ()):
        raise UserError(
            f"{listing.root}: both splits have {brief(twice)}; an image belongs into one of them"
        )

    claimed = {*listing.metadata, *first.union(*others)}
    strays = {
        name for folder in listing.folders.values() for name in listing.tree.under(folder)
    } - claimed
    listing.quarantined += [Filed(name, "not_in_annotations") for name in sorted(strays)]


def _places(tree: Tree, folder: str, names: Sequence[str]) -> dict[str, str]:
    """Return the path of each image that annotations name: in the split's folder, in whatever
    spelling it has there.
    """
    paths = {name: f"{folder}/{_inside(tree, folder, name)}" for name in names}
    spelling = respelled(paths.values(), list(tree.under(folder)))
    return {name: spelling.get(path, path) for name, path in paths.items()}


def _inside(tree: Tree, folder: str, name: str) -> str:
    """Return a name relative to the split's folder, also where it names that folder or has Windows'
    separators.
    """
    if f"{folder}/{name}" in tree.files:
        return name

    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    top = os.path.basename(folder)
    shorter = "/".join(parts[parts.index(top) + 1 :] if top in parts[:-1] else parts)
    return shorter if f"{folder}/{shorter}" in tree.files else name


def _by_image(
    path: Path, rows: Mapping[str, list[instances.Row]]
) -> dict[int, list[instances.Row]]:
    """Return the annotations of each image; stop at those of an unknown category or image."""
    listed = {name: {row["id"] for row in rows[name]} for name in ("categories", "images")}
    for field, name, words in (
        ("category_id", "categories", "has the unknown category"),
        ("image_id", "images", "belongs to image"),
    ):
        if unknown := [row for row in rows["annotations"] if row[field] not in listed[name]]:
            texts = [f"annotation {row['id']} {words} {row[field]}" for row in unknown]
            raise UserError(
                f"{path}: {brief(texts)}, not listed; expected one of the {len(listed[name])} "
                f"that {name!r} lists: "
                f"{brief(sorted(listed[name]))}"
            )

    by_image: dict[int, list[instances.Row]] = defaultdict(list)
    for row in rows["annotations"]:
        by_image[row["image_id"]].append(row)

    return by_image


def _refusal(tree: Tree, name: str) -> str | None:
    if name not in tree.files:
        return "missing_image"
    if tree.files[name].size == 0:
        return "empty"
    return None if name.lower().endswith(IMAGE_SUFFIXES) else "not_an_image"


def _rows(image: instances.Row, rows: Iterable[instances.Row], exact: bool) -> dict[str, Any]:
    """Return an image's entry and its annotations as the file has them; `exact` keeps boxes as they
    are.
    """
    return {
        "image_id": image["id"],
        "file_name": image["file_name"],
        "width": image["width"],
        "height": image["height"],
        "exact": exact,
        "annotations": [
            {name: row[name] for name in instances.ANNOTATION_FIELDS if name in row}
            for row in sorted(rows, key=lambda row: row["id"])
        ],
    }
