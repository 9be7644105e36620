"""The three layouts: what is read from sound folders, where odd files end, and what stops the
work.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import SHARED
from packing import flatten
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.listing import Listing
from pipeline.datasets.synthetic import materialise
from pipeline.params import Synthetic

Drawn = Callable[[str], Path]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name in ("imagenet", "coco", "ade20k"):
        materialise(name, Synthetic(train=30, val=20, image_size=32), folder / name)
    return folder


@pytest.fixture
def drawn(originals: Path, tmp_path: Path) -> Drawn:
    """A copy to spoil."""
    return lambda name: Path(shutil.copytree(originals / name, tmp_path / name))


def reasons(listing: Listing) -> dict[str, str]:
    return {entry.path: entry.reason for entry in listing.quarantined}


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(("name", "classes"), [("imagenet", 10), ("coco", 6), ("ade20k", 8)])
def test_sound_folders(drawn: Drawn, name: str, classes: int) -> None:
    folder = drawn(name)
    listing = list_folder(name, folder, {})
    assert {split: len(samples) for split, samples in listing.splits.items()} == {
        "train": 30,
        "val": 20,
    }
    assert len(listing.classes) == classes
    assert not listing.quarantined and not listing.ignored and not listing.warnings
    assert listing.listed == count_files(folder)


def test_class_names_and_indices(drawn: Drawn) -> None:
    listing = list_folder("imagenet", drawn("imagenet"), {})
    assert listing.classes[0] == ("n00000001", "square 2 cells above of disc")
    assert {sample.target for sample in listing.splits["val"]} == set(range(10))
    assert all(f"/n{sample.target + 1:08d}/" in sample.image for sample in listing.splits["train"])


def test_odd_files_among_images_end_in_a_bucket(drawn: Drawn) -> None:
    folder = drawn("imagenet")
    synset = folder / "train" / "n00000001"
    (synset / "empty.JPEG").touch()
    (synset / "readme.txt").write_text("hello")
    (synset / "deeper").mkdir()
    (synset / "deeper" / "a.jpg").write_bytes(b"x")
    (folder / "train" / "stray.jpg").write_bytes(b"x")
    for name in (".DS_Store", "Thumbs.db", "._a.JPEG"):
        (synset / name).write_bytes(b"x")
    (folder / "test").mkdir()
    (folder / "test" / "a.JPEG").write_bytes(b"x")
    (folder / "test" / "b.JPEG").write_bytes(b"x")
    listing = list_folder("imagenet", folder, {})
    assert reasons(listing) == {
        "train/n00000001/empty.JPEG": "empty",
        "train/n00000001/readme.txt": "not_an_image",
        "train/n00000001/deeper/a.jpg": "outside_layout",
        "train/stray.jpg": "outside_layout",
    }
    assert {(entry.path, entry.reason, entry.files) for entry in listing.ignored} == {
        ("train/n00000001/.DS_Store", "hidden", 1),
        ("train/n00000001/Thumbs.db", "hidden", 1),
        ("train/n00000001/._a.JPEG", "hidden", 1),
        ("test/", "outside_layout", 2),
    }
    assert listing.listed == count_files(folder)


def test_links_that_lead_astray_are_refused(drawn: Drawn, tmp_path: Path) -> None:
    folder = drawn("imagenet")
    synset = folder / "train" / "n00000001"
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(b"x")
    (synset / "out.jpg").symlink_to(outside)
    (synset / "nowhere.jpg").symlink_to("gone")
    (synset / "loop").symlink_to(synset.parent)
    (synset / "fine.JPEG").symlink_to(next(synset.glob("*.JPEG")).name)
    listing = list_folder("imagenet", folder, {})
    assert reasons(listing) == {
        "train/n00000001/out.jpg": "link_outside",
        "train/n00000001/nowhere.jpg": "dangling_link",
        "train/n00000001/loop": "link_loop",
    }
    assert len(listing.splits["train"]) == 31


def test_a_class_may_be_missing_from_validation(drawn: Drawn) -> None:
    folder = drawn("imagenet")
    shutil.rmtree(folder / "val" / "n00000003")
    listing = list_folder("imagenet", folder, {})
    assert listing.warnings == ["val/ lacks 1 of 10 classes: n00000003"]
    assert len(listing.classes) == 10


def test_another_folder_may_serve_as_validation(drawn: Drawn) -> None:
    folder = drawn("imagenet")
    (folder / "val").rename(folder / "test")
    assert len(list_folder("imagenet", folder, {"val": "test"}).splits["val"]) == 20


def keep_one(folder: Path) -> None:
    for path in sorted(folder.iterdir())[1:]:
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: shutil.rmtree(f / "val"), "class folders with images in val/"),
        (lambda f: (f / "train" / "n09").mkdir(), "none in n09/"),
        (lambda f: (f / "val" / "n09").mkdir(), "found n09"),
        (lambda f: keep_one(f / "train"), "at least two class"),
        (
            lambda f: flatten(f / "val"),
            "beside it (or LOC_val_solution.csv); found ILSVRC2012_val_00000001.JPEG",
        ),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_wrong_imagenet_folders_stop(
    drawn: Drawn, spoil: Callable[[Path], object], said: str
) -> None:
    folder = drawn("imagenet")
    spoil(folder)
    with pytest.raises(UserError) as caught:
        list_folder("imagenet", folder, {})
    assert (
        said in str(caught.value)
        and str(folder) in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_sparse_category_ids_and_crowds_are_carried(drawn: Drawn) -> None:
    folder = drawn("coco")
    official = json.loads((folder / "annotations" / "instances_train2017.json").read_text())
    listing = list_folder("coco", folder, {})
    assert [entry.id for entry in listing.classes] == [1, 3, 7, 16, 44, 62]
    records = {sample.target["image_id"]: sample.target for sample in listing.splits["train"]}
    assert sum(not record["annotations"] for record in records.values()) > 0
    carried = {
        a["id"]: (image, a) for image, record in records.items() for a in record["annotations"]
    }
    assert len(carried) == len(official["annotations"])
    assert any(isinstance(a["segmentation"], dict) and a["iscrowd"] for _, a in carried.values())
    for annotation in official["annotations"]:
        image, mine = carried[annotation["id"]]
        assert image == annotation.pop("image_id") and mine == annotation


def test_coco_files_without_partner(drawn: Drawn) -> None:
    folder = drawn("coco")
    images = sorted((folder / "train2017").iterdir())
    images[0].unlink()
    (folder / "train2017" / "extra.jpg").write_bytes(b"x")
    (folder / "annotations" / "captions_train2017.json").write_text("{}")
    (folder / "annotations" / "captions").mkdir()
    (folder / "annotations" / "captions" / "a.json").write_text("{}")
    listing = list_folder("coco", folder, {})
    assert {entry.path for entry in listing.ignored} == {
        "annotations/captions/",
        "annotations/captions_train2017.json",
    }
    assert reasons(listing) == {
        f"train2017/{images[0].name}": "missing_image",
        "train2017/extra.jpg": "not_in_annotations",
    }
    assert listing.listed == count_files(folder) + 1
    assert len(listing.splits["train"]) == 29


def repeat(value: dict[str, Any], name: str) -> None:
    value[name].append(value[name][0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: repeat(v, "images"), "ids of 'images' repeat: 7"),
        (lambda v: repeat(v, "annotations"), "ids of 'annotations' repeat: 1"),
        (lambda v: repeat(v, "categories"), "ids of 'categories' repeat: 1"),
        (
            lambda v: v["annotations"][0].update(category_id=2),
            "annotation 1 has the unknown category 2",
        ),
        (lambda v: v["annotations"][0].update(image_id=5), "annotation 1 belongs to image 5"),
        (
            lambda v: v["images"][0].update(width=float("nan")),
            "width should be a positive integer, found nan",
        ),
        (lambda v: v["annotations"][0].pop("bbox"), "lacks bbox"),
        (lambda v: v.pop("images"), "a list called 'images'"),
        (
            lambda v: v["images"][1].update(file_name=v["images"][0]["file_name"]),
            "share a file name",
        ),
        (lambda v: v["categories"].pop(), "unknown category 62"),
    ],
)
def test_wrong_coco_annotations_stop(
    drawn: Drawn, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    folder = drawn("coco")
    edit(folder / "annotations" / "instances_train2017.json", change)
    with pytest.raises(UserError) as caught:
        list_folder("coco", folder, {})
    assert said in str(caught.value) and "instances_train2017.json" in str(caught.value)


def test_cut_annotations_stop_with_their_place(drawn: Drawn) -> None:
    path = drawn("coco") / "annotations" / "instances_val2017.json"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"not whole JSON: .* in line 1"):
        list_folder("coco", path.parents[1], {})


def test_ade_files_without_partner(drawn: Drawn) -> None:
    folder = drawn("ade20k")
    images, masks = (
        sorted((folder / part / "training").iterdir()) for part in ("images", "annotations")
    )
    images[0].unlink()
    masks[1].unlink()
    masks[2].rename(masks[2].with_suffix(".jpg"))
    listing = list_folder("ade20k", folder, {})
    assert reasons(listing) == {
        f"annotations/training/{masks[0].name}": "no_image",
        f"images/training/{images[1].name}": "no_mask",
        f"images/training/{images[2].name}": "no_mask",
        f"annotations/training/{masks[2].stem}.jpg": "mask_not_png",
    }
    assert listing.listed == count_files(folder)


def test_the_full_ade20k_is_recognised_and_refused(drawn: Drawn) -> None:
    folder = drawn("ade20k")
    for path in (folder / "annotations" / "training").iterdir():
        Image.open(path).convert("RGB").save(path)
    with pytest.raises(
        UserError, match=r"one 8-bit channel, found mode RGB; .* not the full ADE20K"
    ):
        list_folder("ade20k", folder, {})


def test_names_out_of_order_stop(drawn: Drawn) -> None:
    path = drawn("ade20k") / "objectInfo150.txt"
    path.write_text(path.read_text().replace("\n2\t", "\n3\t"))
    with pytest.raises(UserError, match="row 2 should be class 2"):
        list_folder("ade20k", path.parent, {})


def test_the_digest_notices_sizes_names_and_annotations_alone(drawn: Drawn) -> None:
    folder = drawn("coco")
    before = list_folder("coco", folder, {}).digest()
    (folder / ".DS_Store").write_bytes(b"x")
    os.utime(folder / "train2017" / "000000000007.jpg", (0, 0))
    assert list_folder("coco", folder, {}).digest() == before
    for path in (folder / "annotations").iterdir():  # a change of content that no size shows
        path.write_text(path.read_text().replace('"disc"', '"disk"'))
    edited = list_folder("coco", folder, {}).digest()
    assert edited != before
    with open(folder / "train2017" / "000000000007.jpg", "ab") as file:
        file.write(b"x")
    assert list_folder("coco", folder, {}).digest() not in (before, edited)


@pytest.mark.parametrize(
    ("name", "folder", "splits", "counts", "classes"),
    [
        ("imagenet", "imagenet", {}, (79, 55), 12),
        ("imagenet", "cifar10", {"val": "test"}, (2000, 500), 10),
        ("coco", "coco", {}, (80, 57), 80),
        ("ade20k", "ade", {}, (80, 57), 80),
    ],
)
def test_real_folders_lose_nothing(
    name: str, folder: str, splits: dict[str, str], counts: tuple[int, int], classes: int
) -> None:
    source = SHARED / "real" / folder
    if not source.is_dir():
        pytest.skip(f"no photographs in {source}")
    listing = list_folder(name, source, splits)
    assert (len(listing.splits["train"]), len(listing.splits["val"])) == counts
    assert len(listing.classes) == classes
    assert not listing.quarantined
    assert listing.listed == count_files(source)
