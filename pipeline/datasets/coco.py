"""COCO 2017: `train2017/`, `val2017/` and `annotations/instances_<folder>.json`, or others that `layout` knows.

Annotations keep their original category ids (the manifest maps them to class indices and back) and crowds their run
lengths. `val` carries the official ground truth as it is, boxes of zero area too, because each annotation counts in
what an evaluation divides by; in `train` boxes without area are dropped and boxes over the edge are clipped. What no
evaluator can read is dropped in both (`instances` says what that is), and all of it is counted in the notes.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets import instances, keys
from pipeline.datasets.images import RefusedError
from pipeline.datasets.layout import Asked, annotation_file, folders
from pipeline.datasets.listing import IMAGE_SUFFIXES, Class, Filed, Listing, Sample, Tree, finish
from pipeline.datasets.source import Archive
from pipeline.datasets.source.names import respelled
from pipeline.errors import UserError

SPLITS = {"train": "train2017", "val": "val2017"}
ARCHIVES = {
    "train2017.zip": Archive(fills=("train2017",)),
    "val2017.zip": Archive(fills=("val2017",)),
    "annotations_trainval2017.zip": Archive(fills=("annotations",)),
}
AROUND = ("", "images/")
"""What may lie around the folders of the splits."""
MEMBER = "json"
IGNORE = None
RESIZABLE = False


def scan(tree: Tree, asked: Asked) -> Listing:
    """List a folder in COCO's layout; its annotations are read whole.

    Raises:
        UserError: a folder or file is missing, ids repeat, or an annotation names an unknown category or image.
    """
    root = tree.root
    listing = Listing(root, [], {}, tree)
    categories: dict[str, list[Class]] = {}
    listing.folders = splits = folders(tree, asked, SPLITS, AROUND)
    for split, folder in splits.items():
        path = annotation_file(tree, asked, split, folder)
        rows = instances.read(listing, path)
        categories[path] = _categories(root / path, rows["categories"])
        _split(listing, split, folder, root / path, rows)
    first, *others = categories.items()
    for path, found in others:
        if found != first[1]:
            raise UserError(f"{root}: {first[0]} and {path} list different categories")
    listing.classes = first[1]
    return finish(listing, splits.values())


def groups(samples: Sequence[Sample]) -> dict[str, int | None]:
    """Return for each sample by its key the category in it that fewest images show, None where it has none."""
    shown = {sample.key: {row["category_id"] for row in sample.target["annotations"]} for sample in samples}
    images = Counter(category for categories in shown.values() for category in categories)
    return {key: min(found, key=lambda category: (images[category], category), default=None)
            for key, found in shown.items()}  # fmt: skip


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
) -> tuple[bytes, list[int]]:
    """Return the annotation record as JSON, and the indices of the classes in it.

    Raises:
        RefusedError: size_mismatch, where boxes would be in another frame than the pixels.
    """
    record: dict[str, Any] = sample.target
    if size != (record["width"], record["height"]):
        told = f"{record['width']}x{record['height']}"
        raise RefusedError("size_mismatch", f"image {size[0]}x{size[1]}, annotations for {told}")
    index = {category.id: i for i, category in enumerate(classes)}
    shown = sorted({index[annotation["category_id"]] for annotation in record["annotations"]})
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode(), shown


def _categories(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Class]:
    """Return the categories by ascending id; the position is the class index."""
    if not rows:
        raise UserError(f"{path}: no categories")
    return sorted(Class(row["id"], row["name"]) for row in rows)


def _split(listing: Listing, split: str, folder: str, path: Path, rows: Mapping[str, list[instances.Row]]) -> None:
    """Join one split's images to their annotations, and file what has no partner."""
    by_image = _by_image(path, rows)
    records = []
    places = _places(listing.tree, folder, [image["file_name"] for image in rows["images"]])
    for image in rows["images"]:
        name = places[image["file_name"]]
        if (reason := _refusal(listing.tree, name)) is not None:
            listing.quarantined.append(Filed(name, reason))
        else:
            found = by_image.get(image["id"], ())
            records.append((name, _record(listing, name, image, found, exact=split != "train")))
    named = set(places.values()) | {path}
    if len(set(places.values())) != len(rows["images"]):
        raise UserError(f"{path}: two images share a file name")
    strays = (name for name in listing.tree.under(folder) if name not in named)
    listing.quarantined += [Filed(name, "not_in_annotations") for name in strays]
    records.sort(key=lambda pair: pair[0])
    assigned = keys.assign([name for name, _ in records])
    listing.splits[split] = [Sample(key, *pair) for key, pair in zip(assigned, records, strict=True)]


def _places(tree: Tree, folder: str, names: Sequence[str]) -> dict[str, str]:
    """Return the path of each image that annotations name: in the split's folder, in whatever spelling it has there."""
    paths = {name: f"{folder}/{_inside(tree, folder, name)}" for name in names}
    spelling = respelled(paths.values(), list(tree.under(folder)))
    return {name: spelling.get(path, path) for name, path in paths.items()}


def _inside(tree: Tree, folder: str, name: str) -> str:
    """Return a name relative to the split's folder, also where it names that folder or has Windows' separators."""
    if f"{folder}/{name}" in tree.files:
        return name
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    top = os.path.basename(folder)
    shorter = "/".join(parts[parts.index(top) + 1 :] if top in parts[:-1] else parts)
    return shorter if f"{folder}/{shorter}" in tree.files else name


def _by_image(path: Path, rows: Mapping[str, list[instances.Row]]) -> dict[int, list[instances.Row]]:
    """Return the annotations of each image; stop at one of an unknown category or image."""
    images, categories = ({row["id"] for row in rows[name]} for name in ("images", "categories"))
    found: dict[int, list[instances.Row]] = defaultdict(list)
    for row in rows["annotations"]:
        if row["category_id"] not in categories:
            raise UserError(
                f"{path}: annotation {row['id']} has the unknown category {row['category_id']}; "
                f"expected one of the {len(categories)} that the file lists"
            )
        if row["image_id"] not in images:
            raise UserError(f"{path}: annotation {row['id']} belongs to image {row['image_id']}, which is not listed")
        found[row["image_id"]].append(row)
    return found


def _refusal(tree: Tree, name: str) -> str | None:
    if name not in tree.files:
        return "missing_image"
    if tree.files[name].size == 0:
        return "empty"
    return None if name.lower().endswith(IMAGE_SUFFIXES) else "not_an_image"


def _record(
    listing: Listing, name: str, image: instances.Row, rows: Iterable[instances.Row], exact: bool
) -> dict[str, Any]:
    """Return what a sample's JSON member says."""
    width, height = image["width"], image["height"]
    cleaned = [
        instances.clean(row, width, height, exact, name, listing.notes) for row in sorted(rows, key=lambda r: r["id"])
    ]
    annotations = [row for row in cleaned if row is not None]
    if not annotations:
        listing.notes.add("no_annotations", name)
    return {
        "image_id": image["id"],
        "file_name": image["file_name"],
        "width": width,
        "height": height,
        "annotations": annotations,
    }
