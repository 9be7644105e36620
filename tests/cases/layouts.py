"""Cases of COCO- and ADE20K-like data that lie, or are called, otherwise than the official ones."""

import json
import os
import unicodedata
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tests.cases import ade20k, coco
from tests.cases.case import Case, Made, kept, refused
from tests.cases.drawing import encoded, jpeg, picture, put

NAMED, SPLITS, HOLD_OUT = "data.coco.annotations", "data.coco.splits", "data.coco.hold_out"
Draw = Callable[[Path], None]


def split(
    root: Path,
    folder: str,
    annotations: str,
    first: int,
    count: int = 3,
    name: Callable[[int], str] = coco.plain,
) -> None:
    """Draw a split's images and its annotation file, which names them by their base names."""
    tree = coco.document(first, name, {}, {})
    tree["images"] = tree["images"][:count]
    tree["annotations"] = tree["annotations"][: 2 * count]
    put(root, annotations, tree)
    for image in tree["images"]:
        put(root, f"{folder}/{image['file_name']}", jpeg(image["id"]))


def splits(train: tuple[str, str], val: tuple[str, str] | None = None, **others: str) -> Draw:
    """Return what draws splits, each as its folder and its annotation file, and other files with
    their text.
    """

    def draw(root: Path) -> None:
        split(root, *train, first=1)
        if val is not None:
            split(root, *val, first=101)
        for name, text in others.items():
            put(root, name.replace("__", "/") + ".json", text)

    return draw


def one_split(count: int) -> Draw:
    """Return what draws a training split of so many images, one of them with a box over the
    edge.
    """

    def draw(root: Path) -> None:
        for first in range(1, count + 1, 3):
            split(root, "train2017", f"{first}.json", first)
        parts = [
            json.loads((root / f"{first}.json").read_text()) for first in range(1, count + 1, 3)
        ]
        whole = {
            key: [row for part in parts for row in part[key]] for key in ("images", "annotations")
        }
        for row in whole["annotations"]:
            row["bbox"] = [4.0, 4.0, 60.0, 12.0]
        put(
            root,
            "annotations/instances_train2017.json",
            {**whole, "categories": parts[0]["categories"]},
        )
        for first in range(1, count + 1, 3):
            (root / f"{first}.json").unlink()

    return draw


def boxes_by_split(made: Made) -> str:
    """Check that a held-out image is judged by its boxes as the file has them, while training clips
    them.
    """
    widths = {
        name: {
            row["bbox"][2]
            for sample in made.samples(name)
            for row in json.loads(sample["json"])["annotations"]
        }
        for name in ("train", "val")
    }
    return "" if widths == {"train": {44.0}, "val": {60.0}} else f"widths of boxes {widths}"


def file_names_are(*names: str) -> Callable[[Made], str]:
    """Return a check of what the records of the training split call their images."""

    def check(made: Made) -> str:
        seen = [json.loads(sample["json"])["file_name"] for sample in made.samples("train")]
        return "" if seen == list(names) else f"records name {seen}"

    return check


def umlaut(number: int, form: Literal["NFC", "NFD"] = "NFC") -> str:
    return unicodedata.normalize(form, f"über{number}.jpg")


def mistaken(number: int) -> str:
    """Return the name as an unpacker leaves it that takes UTF-8 for code page 437."""
    return umlaut(number).encode().decode("cp437")


def latin(number: int) -> str:
    """Return the name in Latin-1, as Python holds it."""
    return os.fsdecode(umlaut(number).encode("latin-1"))


def without_flag(names: Callable[[int], str] = umlaut) -> Draw:
    """Return what draws archives of UTF-8 names that do not say so."""
    packed = coco.zipped(names=names)

    def draw(root: Path) -> None:
        packed(root)
        for path in root.glob("*2017.zip"):
            data = bytearray(path.read_bytes())
            for mark, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
                at = 0
                while (at := data.find(mark, at)) >= 0:
                    data[at + offset] &= ~0x08
                    at += 4
            path.write_bytes(data)

    return draw


def large_headers(root: Path) -> None:
    """Draw archives whose members say their sizes in the fields for large files."""
    unpacked = root.parent / "unpacked"
    coco.folder()(unpacked)
    for name, top in (
        ("train2017", "train2017"),
        ("val2017", "val2017"),
        ("annotations_trainval2017", "annotations"),
    ):
        with zipfile.ZipFile(root / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((unpacked / top).iterdir()):
                with archive.open(
                    zipfile.ZipInfo(f"{top}/{path.name}"), "w", force_zip64=True
                ) as member:
                    member.write(path.read_bytes())


def decomposed_masks(root: Path) -> None:
    """Draw masks whose names are decomposed where those of the images are composed."""
    ade20k.folder()(root)
    for number, path in enumerate(sorted((root / "images").rglob("*.jpg"))):
        mask = root / "annotations" / path.parent.name / f"{path.stem}.png"
        path.rename(path.with_name(f"straße {umlaut(number)}"))
        mask.rename(mask.with_name(unicodedata.normalize("NFD", f"straße über{number}.png")))


def png_photographs(root: Path) -> None:
    ade20k.folder(image=lambda number: encoded(picture(number), "PNG"), suffixes=(".png", ".png"))(
        root
    )


def bytes_are_kept(made: Made) -> str:
    """Check that photographs and masks that are both PNG keep their bytes, each under its own
    extension.
    """
    for sample in made.samples("train"):
        for part, member in (("images", "image.png"), ("annotations", "png")):
            if (
                sample[member]
                != (made.source / part / "training" / f"{sample['__key__']}.png").read_bytes()
            ):
                return f"{sample['__key__']}.{member} has other bytes"
    return ""


def lone_category(root: Path) -> None:
    """Draw annotations whose category is called by half a character, as JSON can say it and no file
    can hold it.
    """
    coco.folder(categories=[{"id": 1, "name": "caf\ud83d", "supercategory": "all"}])(root)


def lone_file_name(root: Path) -> None:
    """Draw annotations that name an image by half a character."""
    coco.folder(
        names=lambda n: f"caf\ud83d{n}.jpg" if n in (1, 101) else coco.plain(n), files=coco.plain
    )(root)


case = partial(Case, dataset="coco")
YOLO = [
    case(
        "coco_yolo_short",
        draw=splits(
            ("images/train", "annotations/instances_train.json"),
            ("images/val", "annotations/val.json"),
        ),
        right=kept(3, 3),
    ),
    case(
        "coco_roboflow_files",
        draw=splits(
            ("train", "train/_annotations.coco.json"), ("valid", "valid/_annotations.coco.json")
        ),
        right=kept(3, 3),
    ),
    case("coco_roboflow", draw=coco.folder(folders=("train", "valid")), right=kept(3, 3)),
    case(
        "coco_beside_captions",
        draw=splits(
            ("train2017", "annotations/train.json"),
            ("val2017", "annotations/val.json"),
            annotations__captions_train2017="{}",
            annotations__person_keypoints_val2017="{}",
        ),
        right=kept(3, 3),
    ),
    case(
        "coco_one_folder",
        draw=splits(
            ("images", "annotations/instances_train.json"),
            ("images", "annotations/instances_val.json"),
        ),
        right=kept(3, 3),
    ),
    case(
        "coco_one_folder_strays",
        draw=splits(
            ("images", "annotations/train.json"),
            ("images", "annotations/val.json"),
            images__notes="{}",
        ),
        right=kept(3, 3, quarantined={"images/notes.json": "not_in_annotations"}),
        settings={"shard.max_quarantined": 1},
    ),
    case(
        "coco_one_folder_and_file",
        draw=splits(("images", "annotations/train_val.json")),
        right=refused("both splits have images/000000000001.jpg"),
    ),
    case(
        "coco_one_folder_held_out",
        draw=splits(("images", "annotations/all.json")),
        right=kept(2, 1),
        settings={HOLD_OUT: 0.34},
    ),
    case(
        "coco_two_annotations",
        draw=splits(
            ("train2017", "annotations/train.json"),
            ("val2017", "annotations/val.json"),
            annotations__train_v2="{}",
        ),
        right=refused("train.json, annotations/train_v2.json", "data.coco.annotations.train"),
    ),
    case(
        "coco_annotations_named",
        draw=splits(("photos", "labels/a.json"), ("more", "labels/b.json")),
        right=kept(3, 3),
        settings={
            SPLITS: {"train": "photos", "val": "more"},
            NAMED: {"train": "labels/a.json", "val": "labels/b.json"},
        },
    ),
    case(
        "coco_annotations_unnamed",
        draw=splits(("train2017", "labels/a.json"), ("val2017", "labels/b.json")),
        right=refused(
            "train2017/ and annotations/instances_train2017.json",
            "data.coco.annotations.train=FILE",
        ),
    ),
    case(
        "coco_annotations_gone",
        draw=coco.folder(),
        right=refused("labels/x.json, named by data.coco.annotations.val, does not exist"),
        settings={NAMED: {"val": "labels/x.json"}},
    ),
    case(
        "coco_train_only",
        draw=splits(("train2017", "annotations/instances_train2017.json")),
        right=refused("val2017/ and annotations/instances_val2017.json", "data.coco.hold_out=0.1"),
    ),
    case(
        "coco_hold_out",
        draw=one_split(9),
        right=kept(6, 3, noted={"held_out": 3, "clipped_box": 12}),
        settings={HOLD_OUT: 0.34},
        check=boxes_by_split,
    ),
]

NAMES = [
    case(
        "coco_nfd_files",
        draw=coco.folder(names=umlaut, files=partial(umlaut, form="NFD")),
        right=kept(3, 3),
        check=file_names_are("über1.jpg", "über2.jpg", "über3.jpg"),
    ),
    case(
        "coco_nfd_names",
        draw=coco.folder(names=partial(umlaut, form="NFD"), files=umlaut),
        right=kept(3, 3),
    ),
    case("coco_cp437_files", draw=coco.folder(names=umlaut, files=mistaken), right=kept(3, 3)),
    case("coco_latin1_files", draw=coco.folder(names=umlaut, files=latin), right=kept(3, 3)),
    case(
        "coco_case_ambiguous",
        draw=coco.folder(
            names=lambda n: f"{n}.Jpg",
            files=lambda n: f"{n}.JPG",
            change=lambda tree, folder: tree["images"].append(
                {**tree["images"][0], "id": 999, "file_name": "1.jpG"}
            ),
        ),
        right=refused("missing_image", "1.jpG", "allows 0"),
    ),
    case(
        "coco_name_absolute",
        draw=coco.folder(names=lambda n: f"/home/x/{n}.jpg", files=lambda n: f"{n}.jpg"),
        right=refused(
            "file_name should be a path inside the split's folder, found '/home/x/1.jpg'"
        ),
    ),
    case(
        "coco_half_category",
        draw=lone_category,
        right=refused(
            r"name should be text, found "
            r"'caf\\ud83d'"
        ),
    ),
    case(
        "coco_half_name",
        draw=lone_file_name,
        right=refused("file_name should be", r"found 'caf\\ud83d1.jpg'"),
    ),
]

ZIPS = [
    case("coco_zip_unflagged", draw=without_flag(), right=kept(3, 3)),
    case(
        "coco_zip_unflagged_nfd", draw=without_flag(partial(umlaut, form="NFD")), right=kept(3, 3)
    ),
    case("coco_zip64", draw=large_headers, right=kept(3, 3)),
]


def ade(name: str, draw: Draw, right: Any, **more: Any) -> Case:
    return Case(name, "ade20k", draw, right, **more)


ADE = [
    ade("ade_png_bytes", png_photographs, kept(2, 2), check=bytes_are_kept),
    ade("ade_unicode_forms", decomposed_masks, kept(2, 2)),
]

CASES = [*YOLO, *NAMES, *ZIPS, *ADE]
