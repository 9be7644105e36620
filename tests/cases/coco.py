"""Cases of COCO-like folders: names, entries and annotations as tools and people write them."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.datasets.objects import why_unseen
from tests.cases.case import Case, Made, Outcome, kept, refused
from tests.cases.drawing import SIZE, jpeg, put

WIDTH, HEIGHT = SIZE
SQUARE = [[4.0, 4.0, 20.0, 4.0, 20.0, 16.0, 4.0, 16.0]]
FOLDERS = ("train2017", "val2017")
LEFT_OUT = object()
"""Stands for a key that an entry lacks."""
Tree = dict[str, Any]
Draw = Callable[[Path], None]


def entries(common: Mapping[str, Any], changes: Mapping[str, Any]) -> Tree:
    """Return an entry with other values, without the keys that are left out."""
    return {name: value for name, value in {**common, **changes}.items() if value is not LEFT_OUT}


def annotation(number: int, image: int, **changes: Any) -> Tree:
    """Return an annotation: a square of 16 x 12 pixels."""
    sound = {
        "category_id": 1,
        "bbox": [4.0, 4.0, 16.0, 12.0],
        "area": 192.0,
        "iscrowd": 0,
        "segmentation": SQUARE,
    }
    return entries({"id": number, "image_id": image, **sound}, changes)


def document(
    first: int,
    names: Callable[[int], str],
    annotated: Mapping[str, Any],
    described: Mapping[str, Any],
    categories: list[Tree] | None = None,
) -> Tree:
    """Return an annotation file of three images with two annotations each."""
    numbers = range(first, first + 3)
    return {
        "images": [
            entries({"id": n, "file_name": names(n), "width": WIDTH, "height": HEIGHT}, described)
            for n in numbers
        ],
        "annotations": [annotation(10 * n + i, n, **annotated) for n in numbers for i in range(2)],
        "categories": categories or [{"id": 1, "name": "thing", "supercategory": "all"}],
    }


def plain(number: int) -> str:
    return f"{number:012d}.jpg"


def folder(
    annotated: Mapping[str, Any] | None = None,
    described: Mapping[str, Any] | None = None,
    names: Callable[[int], str] = plain,
    files: Callable[[int], str] | None = None,
    folders: tuple[str, str] = FOLDERS,
    above: str = "",
    categories: list[Tree] | None = None,
    change: Callable[[Tree, str], object] | None = None,
    picture: Callable[[int], bytes] = jpeg,
) -> Draw:
    """Return what draws a data set; `annotated` and `described` change each annotation and image,
    `change` a file.
    """

    def draw(root: Path) -> None:
        for split, first in zip(folders, (1, 101), strict=True):
            tree = document(first, names, annotated or {}, described or {}, categories)
            if change is not None:
                change(tree, split)
            put(root, f"annotations/instances_{split}.json", tree)
            for number in range(first, first + 3):
                put(root, f"{above}{split}/{(files or names)(number)}", picture(number))

    return draw


def first(**changes: Any) -> Callable[[Tree, str], object]:
    """Change the first annotation of each file."""
    return lambda tree, split: tree["annotations"][0].update(changes)


def each(kind: str, change: Callable[[Tree], object]) -> Callable[[Tree, str], object]:
    """Change every entry of a list."""
    return lambda tree, split: [change(entry) for entry in tree[kind]]


def panoptic(tree: Tree, split: str) -> None:
    segment = {"id": 5, "category_id": 1, "area": 5, "bbox": [1, 1, 2, 2], "iscrowd": 0}
    tree["annotations"] = [
        {"image_id": image["id"], "file_name": image["file_name"], "segments_info": [segment]}
        for image in tree["images"]
    ]


def upright(number: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(number, exif=exif.tobytes())


def zipped(
    rename: Callable[[str], str] = str,
    names: Callable[[int], str] = plain,
    extra: tuple[str, ...] = (),
    before: bytes = b"",
    **options: Any,
) -> Draw:
    """Return what draws the official archives; `rename` gives a member its name, `before` are bytes
    in front.
    """

    def draw(root: Path) -> None:
        unpacked = root.parent / "unpacked"
        folder(names=names)(unpacked)
        for name, top in (
            ("train2017", "train2017"),
            ("val2017", "val2017"),
            ("annotations_trainval2017", "annotations"),
        ):
            (root / f"{name}.zip").write_bytes(before)
            with zipfile.ZipFile(
                root / f"{name}.zip", "a" if before else "w", **options
            ) as archive:
                for path in sorted((unpacked / top).iterdir()):
                    member = zipfile.ZipInfo()
                    member.filename = rename(f"{top}/{path.name}")
                    archive.writestr(
                        member, path.read_bytes(), options.get("compression", zipfile.ZIP_STORED)
                    )
                for member_name in extra:
                    archive.writestr(member_name, b"x")

    return draw


def counted(train: str, val: str | None = None) -> Callable[[Made], str]:
    """Return a check of what the manifest says of each split's annotations, and that training sees
    as many.
    """

    def check(made: Made) -> str:
        for split, right in (("train", train), ("val", val or train)):
            account = made.manifest.splits[split].targets  # type: ignore[index]
            if account is None or (words := account.words("annotations")) != right:
                return f"{split}: {words if account else 'nothing'} counted, right is: {right}"
            rows = [
                row
                for sample in made.samples(split)
                for row in json.loads(sample["json"])["annotations"]
            ]
            if (seen := sum(why_unseen(row) is None for row in rows)) != account.seen:
                return f"{split}: training sees {seen}"
        return ""

    return check


def case(
    name: str,
    draw: Draw,
    right: Outcome,
    check: Callable[[Made], str] | None = None,
    **settings: Any,
) -> Case:
    """Return a case; settings of `shard` are given by name."""
    return Case(
        name, "coco", draw, right, {f"shard.{key}": value for key, value in settings.items()}, check
    )


WHOLE = "6 annotations: 6 seen"
RUNS = {"size": [HEIGHT, WIDTH], "counts": [0, 192, WIDTH * HEIGHT - 192]}
ALL = {"max_dropped_annotations": 1}
LOST = "6 of 6 annotations are lost"
CASES = [
    case("coco_plain", folder(), kept(3, 3), counted(WHOLE)),
    # what annotations leave out, or say in another way
    case(
        "coco_area_zero",
        folder({"area": 0}),
        kept(3, 3, noted={"area_computed": 12}),
        counted(WHOLE),
    ),
    case(
        "coco_area_negative",
        folder({"area": -192.0}),
        kept(3, 3, noted={"area_computed": 12}),
        counted(WHOLE),
    ),
    case(
        "coco_no_area",
        folder({"area": LEFT_OUT}),
        kept(3, 3, noted={"area_missing": 12}),
        counted(WHOLE),
    ),
    case(
        "coco_null_area",
        folder({"area": None}),
        kept(3, 3, noted={"area_missing": 12}),
        counted(WHOLE),
    ),
    case("coco_area_one", folder({"area": 1.0}), kept(3, 3), counted(WHOLE)),
    case(
        "coco_no_iscrowd",
        folder({"iscrowd": LEFT_OUT}),
        kept(3, 3, noted={"iscrowd_missing": 12}),
        counted(WHOLE),
    ),
    case(
        "coco_iscrowd_bool",
        folder({"iscrowd": False}),
        kept(3, 3, noted={"iscrowd_boolean": 12}),
        counted(WHOLE),
    ),
    case(
        "coco_crowd_polygon",
        folder(change=first(iscrowd=1)),
        kept(3, 3),
        counted("6 annotations: 5 seen, 1 for judging only (crowd 1)"),
    ),
    case(
        "coco_score_extra",
        folder({"score": 0.5, "attributes": {"occluded": False}}),
        kept(3, 3),
        counted(WHOLE),
    ),
    case("coco_rle_list", folder({"segmentation": RUNS}), kept(3, 3), counted(WHOLE)),
    case(
        "coco_boxes_only",
        folder({"segmentation": []}),
        kept(3, 3, noted={"no_mask": 12}),
        counted("6 annotations: 6 seen, 6 without a mask (no_mask 6)"),
    ),
    case(
        "coco_boxes_only_nokey",
        folder({"segmentation": LEFT_OUT}),
        refused("entry 0 of 'annotations'", "lacks segmentation", "[] for a box alone"),
    ),
    case(
        "coco_short_polygon_beside_good",
        folder({"segmentation": [[1.0, 1.0, 9.0, 9.0], *SQUARE]}),
        kept(3, 3, noted={"degenerate_polygon": 12}),
        counted(WHOLE),
    ),
    # what no training could see
    case(
        "coco_fractions",
        folder({"bbox": [0.1, 0.1, 0.3, 0.4], "area": 0.12, "segmentation": []}),
        refused(
            LOST,
            "looks_like_fractions 6",
            "000000000001.jpg annotation 10",
            "shard.max_dropped_annotations",
        ),
    ),
    case(
        "coco_fractions_allowed",
        folder({"bbox": [0.1, 0.1, 0.3, 0.4], "area": 0.12}),
        kept(3, 3),
        counted("6 annotations: 0 seen, 6 for judging only (looks_like_fractions 6)"),
        **ALL,
    ),
    case(
        "coco_below_a_pixel",
        folder({"bbox": [4.0, 4.0, 0.5, 12.0]}),
        refused(LOST, "below_a_pixel 6"),
    ),
    case(
        "coco_xyxy_swap",
        folder({"bbox": [20.0, 16.0, -16.0, -12.0]}),
        refused(LOST, "negative_box 6"),
    ),
    case(
        "coco_xyxy",
        folder(
            {"bbox": [30.0, 10.0, 40.0, 25.0], "segmentation": [[30, 10, 40, 10, 40, 25, 30, 25]]}
        ),
        refused(LOST, "looks_like_corners 6", "bbox [30.0, 10.0, 40.0, 25.0]"),
    ),
    case(
        "coco_one_of_six",
        folder(change=first(bbox=[4.0, 4.0, -16.0, -12.0])),
        refused("train: 1 of 6 annotations are lost", "negative_box 1", "allows 0.01"),
    ),
    case(
        "coco_one_of_six_allowed",
        folder(change=first(bbox=[4.0, 4.0, -16.0, -12.0])),
        kept(3, 3),
        counted(
            "6 annotations: 5 seen, 1 dropped (negative_box 1)",
            "6 annotations: 5 seen, 1 for judging only (negative_box 1)",
        ),
        max_dropped_annotations=0.2,
    ),
    case(
        "coco_box_not_finite",
        folder({"bbox": [4.0, 4.0, float("inf"), 12.0]}),
        refused(LOST, "not_finite 6"),
    ),
    case(
        "coco_box_far_outside",
        folder(change=first(bbox=[-1e8, 4.0, 2e8, 12.0])),
        kept(3, 3, noted={"clipped_box": 1, "box_outside_kept": 1}),
        counted(WHOLE),
    ),
    case(
        "coco_polygon_1e8",
        folder(change=first(segmentation=[[4.0, 4.0, 1e8, 4.0, 20.0, 16.0]])),
        refused("train: 1 of 6 annotations are lost", "polygon_far_outside 1", "annotation 10"),
    ),
    case(
        "coco_polygon_1e8_allowed",
        folder({"segmentation": [[4.0, 4.0, 1e8, 4.0, 20.0, 16.0]]}),
        kept(3, 3),
        counted("6 annotations: 6 seen, 6 without a mask (polygon_far_outside 6)"),
        **ALL,
    ),
    case(
        "coco_masks_counts_bytes_str",
        folder({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "x"}}),
        refused(LOST, "bad_rle 6", "do not fill the image"),
    ),
    case(
        "coco_rle_swapped",
        folder({"segmentation": {**RUNS, "size": [WIDTH, HEIGHT]}}),
        refused(LOST, "bad_rle 6", "size [48, 32], which is [width, height]"),
    ),
    case(
        "coco_rle_huge",
        folder({"segmentation": {**RUNS, "counts": [0, 2**63]}}),
        refused(LOST, "bad_rle 6"),
    ),
    case(
        "coco_train_empty_ann",
        folder(change=lambda tree, split: tree.update(annotations=[])),
        kept(3, 3, noted={"no_annotations": 6}),
        counted("0 annotations: 0 seen"),
    ),
    # entries of another shape
    case(
        "coco_flat_polygon",
        folder({"segmentation": SQUARE[0]}),
        refused("a list of lists", "entry 0", "entries 1"),
    ),
    case(
        "coco_nested_polygon",
        folder({"segmentation": [[[4, 4], [20, 4], [20, 16]]]}),
        refused("a list of lists"),
    ),
    case("coco_empty_bbox", folder({"bbox": []}), refused("bbox should be a list of four numbers")),
    case(
        "coco_num_as_str",
        folder({"bbox": ["4", "4", "16", "12"]}),
        refused("four numbers", "['4', '4'"),
    ),
    case(
        "coco_str_ids",
        folder(change=each("images", lambda image: image.update(id=str(image["id"])))),
        refused("id should be an integer", "not text", "found '1'"),
    ),
    case(
        "coco_float_ids",
        folder(change=each("annotations", lambda row: row.update(image_id=row["image_id"] / 1))),
        refused("image_id should be an integer", "not a float", "found 1.0"),
    ),
    case(
        "coco_ids_mixed_up",
        folder(change=each("annotations", lambda row: row.update(image_id=row["id"]))),
        refused("annotation 10 belongs to image 10", "not listed", "'images' lists: 1, 2, 3"),
    ),
    case(
        "coco_size_minus_one",
        folder(described={"width": -1, "height": -1}),
        refused("width", "found -1"),
    ),
    case(
        "coco_size_missing",
        folder(described={"width": LEFT_OUT}),
        refused("lacks width", "entries 1, 2"),
    ),
    case("coco_panoptic", folder(change=panoptic), refused("panoptic", "instances_train2017.json")),
    case(
        "coco_no_categories",
        folder(change=lambda tree, split: tree.update(categories=[])),
        refused("'categories' is empty"),
    ),
    case(
        "coco_val_image_info",
        folder(change=lambda tree, split: split == "val2017" and tree.pop("annotations")),
        refused("instances_val2017.json", "a list called 'annotations'", "categories, images"),
    ),
    case(
        "coco_cat_zero",
        folder({"category_id": 0}, categories=[{"id": 0, "name": "thing"}]),
        kept(3, 3),
    ),
    case(
        "coco_unused_cat",
        folder(categories=[{"id": 1, "name": "thing"}, {"id": 7, "name": "thing"}]),
        kept(3, 3),
    ),
    case("coco_no_info", folder(), kept(3, 3)),
    case(
        "coco_cat_differs",
        folder(change=lambda tree, split: tree["categories"].append({"id": 2, "name": split})),
        refused(
            "different categories",
            "2 'train2017' (annotations/instances_train2017.json alone)",
            "same",
        ),
    ),
    case(
        "coco_dup_name",
        folder(change=lambda tree, split: tree["images"].append({**tree["images"][0], "id": 999})),
        refused("two images share a file name", "train2017/000000000001.jpg", "merge"),
    ),
    # names of files
    case("coco_chinese", folder(names=lambda n: "\u7167\u7247" * 20 + f"{n}.jpg"), kept(3, 3)),
    case("coco_subfolder", folder(names=lambda n: f"sub {n}/\u00e9.jpg"), kept(3, 3)),
    case(
        "coco_name_with_split",
        folder(names=lambda n: f"{FOLDERS[n > 100]}/{plain(n)}", files=plain),
        kept(3, 3),
    ),
    case(
        "coco_name_backslash",
        folder(names=lambda n: f"{FOLDERS[n > 100]}\\{n}.jpg", files=lambda n: f"{n}.jpg"),
        kept(3, 3),
    ),
    case("coco_case", folder(names=lambda n: f"{n}.jpg", files=lambda n: f"{n}.JPG"), kept(3, 3)),
    case("coco_yolo_layout", folder(above="images/"), kept(3, 3)),
    case("coco_roboflow_folders", folder(folders=("train", "valid")), kept(3, 3)),
    case(
        "coco_no_image_by_that_name",
        folder(files=lambda n: f"other{n}.jpg"),
        refused(
            "no usable image in train2017/ and val2017/",
            "missing_image: train2017/000000000001.jpg",
            "and 3 more",
            "file_name counts from inside",
            "not_in_annotations: train2017/other1.jpg",
        ),
    ),
    case(
        "coco_empty_images",
        folder(picture=lambda n: b""),
        refused(
            "no usable image", "empty: train2017/000000000001.jpg", "copy or download it again"
        ),
    ),
    case(
        "coco_exif_upright",
        folder(described={"width": HEIGHT, "height": WIDTH}, picture=upright),
        refused("size_mismatch (image 48x32, annotations for 32x48)", "train2017/000000000001.jpg"),
    ),
    case(
        "coco_one_other_size",
        folder(change=lambda tree, split: tree["images"][0].update(width=9)),
        kept(
            2,
            2,
            quarantined={
                "train2017/000000000001.jpg": "size_mismatch",
                "val2017/000000000101.jpg": "size_mismatch",
            },
        ),
        counted("6 annotations: 4 seen, 2 dropped (image_quarantined 2)"),
        max_quarantined=2,
    ),
    case(
        "coco_one_missing",
        folder(files=lambda n: plain(n) if n % 100 > 1 else f"other{n}.jpg"),
        kept(
            2,
            2,
            quarantined={
                f"{split}/{name}": reason
                for split, n in (("train2017", 1), ("val2017", 101))
                for name, reason in (
                    (plain(n), "missing_image"),
                    (f"other{n}.jpg", "not_in_annotations"),
                )
            },
        ),
        counted("6 annotations: 4 seen, 2 dropped (image_quarantined 2)"),
        max_quarantined=4,
    ),
    # archives
    case("coco_zip_plain", zipped(), kept(3, 3)),
    case("coco_zip_dot", zipped(lambda name: f"./{name}"), kept(3, 3)),
    case("coco_zip_umlaut", zipped(names=lambda n: f"\u00fcber{n}.jpg"), kept(3, 3)),
    case("coco_zip_deflated", zipped(compression=zipfile.ZIP_DEFLATED), kept(3, 3)),
    case(
        "coco_zip_backslash",
        zipped(lambda name: name.replace("/", "\\")),
        refused("unsafe_name", "train2017\\000000000001.jpg"),
    ),
    case(
        "coco_zip_no_top",
        zipped(lambda name: name.partition("/")[2]),
        refused("expected train2017/"),
    ),
    case("coco_zip_macos", zipped(extra=("__MACOSX/train2017/._1.jpg", ".DS_Store")), kept(3, 3)),
    case("coco_zip_prefixed", zipped(before=b"#!/bin/sh self-extracting\n" * 5), kept(3, 3)),
    case(
        "coco_zip_bzip2",
        zipped(compression=zipfile.ZIP_BZIP2),
        refused("unknown_compression", "000000000001.jpg"),
    ),
]
