"""COCO 2017: `train2017/`, `val2017/` and `annotations/instances_<folder>.json`.

Annotations are carried as they are: original category ids (the manifest maps them to class indices and back), crowds
with their run lengths, boxes of zero area too, so that an evaluation sees exactly the official ground truth.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets import keys
from pipeline.datasets.images import RefusedError
from pipeline.datasets.listing import IMAGE_SUFFIXES, Class, Filed, Listing, Sample, Tree, finish, wrong_layout
from pipeline.datasets.metadata import read_json
from pipeline.datasets.source import Archive
from pipeline.errors import UserError

SPLITS = {"train": "train2017", "val": "val2017"}
ARCHIVES = {
    "train2017.zip": Archive(fills=("train2017",)),
    "val2017.zip": Archive(fills=("val2017",)),
    "annotations_trainval2017.zip": Archive(fills=("annotations",)),
}
MEMBER = "json"
IGNORE = None
RESIZABLE = False
ANNOTATION_FIELDS = ("id", "category_id", "bbox", "area", "iscrowd", "segmentation")


def scan(tree: Tree, splits: Mapping[str, str]) -> Listing:
    """List a folder in COCO's layout; its annotations are read whole.

    Raises:
        UserError: a folder or file is missing, ids repeat, or an annotation names an unknown category or image.
    """
    root = tree.root
    listing = Listing(root, [], {}, tree)
    categories: dict[str, list[Class]] = {}
    for split, folder in splits.items():
        path = f"annotations/instances_{folder}.json"
        if folder not in tree.folders or path not in tree.files:
            raise wrong_layout(root, f"{folder}/ and {path}", tree.at_top())
        instances = _instances(listing, path)
        categories[path] = _categories(root / path, instances["categories"])
        _split(listing, split, folder, root / path, instances, {c.id for c in categories[path]})
    first, *others = categories.items()
    for path, found in others:
        if found != first[1]:
            raise UserError(f"{root}: {first[0]} and {path} list different categories")
    listing.classes = first[1]
    return finish(listing, splits.values())


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


def _instances(listing: Listing, path: str) -> dict[str, list[dict[str, Any]]]:
    """Return the three lists of an annotation file, checked for the fields that are used."""
    value = read_json(listing, path)
    needed = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("image_id", *ANNOTATION_FIELDS),
        "categories": ("id", "name"),
    }
    for name, fields in needed.items():
        rows = value.get(name) if isinstance(value, dict) else None
        if not isinstance(rows, list):
            raise UserError(f"{listing.root / path}: expected a list called {name!r}, as in instances_train2017.json")
        for row in rows:
            if not isinstance(row, dict) or (lacking := [field for field in fields if field not in row]):
                what = f"lacks {', '.join(lacking)}" if isinstance(row, dict) else "is not a mapping"
                raise UserError(f"{listing.root / path}: an entry of {name!r} {what}: {str(row)[:120]}")
        _unique(listing.root / path, name, (row["id"] for row in rows))
    return {name: value[name] for name in needed}


def _unique(path: Path, name: str, ids: Iterable[int]) -> None:
    if repeated := [str(i) for i, times in Counter(ids).items() if times > 1]:
        more = " ..." if len(repeated) > 10 else ""
        raise UserError(f"{path}: ids of {name!r} repeat: {', '.join(repeated[:10])}{more}")


def _categories(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Class]:
    """Return the categories by ascending id; the position is the class index."""
    if not rows:
        raise UserError(f"{path}: no categories")
    return sorted(Class(row["id"], row["name"]) for row in rows)


def _split(
    listing: Listing,
    split: str,
    folder: str,
    path: Path,
    instances: Mapping[str, list[dict[str, Any]]],
    known: set[int | str],
) -> None:
    """Join one split's images to their annotations, and file what has no partner."""
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    ids = {image["id"] for image in instances["images"]}
    flat = []
    for annotation in instances["annotations"]:
        if annotation["category_id"] not in known:
            unknown = annotation["category_id"]
            raise UserError(f"{path}: annotation {annotation['id']} has the unknown category {unknown}")
        if annotation["image_id"] not in ids:
            unknown = annotation["image_id"]
            raise UserError(f"{path}: annotation {annotation['id']} belongs to image {unknown}, which is not listed")
        if min(annotation["bbox"][2:]) <= 0:
            flat.append(str(annotation["id"]))
        by_image[annotation["image_id"]].append(annotation)
    if flat:
        listing.warnings.append(f"{path.name}: boxes without area, kept as they are: {', '.join(flat)}")
    records = []
    for image in instances["images"]:
        name = f"{folder}/{image['file_name']}"
        if (reason := _refusal(listing.tree, name)) is not None:
            listing.quarantined.append(Filed(name, reason))
        else:
            records.append((name, _record(image, by_image[image["id"]])))
    named = {f"{folder}/{image['file_name']}" for image in instances["images"]}
    if len(named) != len(instances["images"]):
        raise UserError(f"{path}: two images share a file name")
    strays = (name for name in listing.tree.under(folder) if name not in named)
    listing.quarantined += [Filed(name, "not_in_annotations") for name in strays]
    records.sort(key=lambda pair: pair[0])
    assigned = keys.assign([name for name, _ in records])
    listing.splits[split] = [Sample(key, *pair) for key, pair in zip(assigned, records, strict=True)]


def _refusal(tree: Tree, name: str) -> str | None:
    if name not in tree.files:
        return "missing_image"
    if tree.files[name].size == 0:
        return "empty"
    return None if name.lower().endswith(IMAGE_SUFFIXES) else "not_an_image"


def _record(image: Mapping[str, Any], annotations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a sample's JSON member says."""
    return {
        "image_id": image["id"],
        "file_name": image["file_name"],
        "width": image["width"],
        "height": image["height"],
        "annotations": [
            {field: annotation[field] for field in ANNOTATION_FIELDS}
            for annotation in sorted(annotations, key=lambda a: a["id"])
        ],
    }
