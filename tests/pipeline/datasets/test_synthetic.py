"""Synthetic images: the same seed gives the same bytes, and what is written about a scene is what was
painted.
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from pipeline.datasets.synthetic import folder_name, instances, materialise, regions
from pipeline.params import Synthetic

NAMES = ("imagenet", "coco", "ade20k", "cifar10")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    numbers = Synthetic(train=12, val=4, image_size=32)
    for folder in ("one", "two"):
        materialise(name, numbers, tmp_path / folder)
    materialise(name, numbers.model_copy(update={"seed": 1}), tmp_path / "other")
    assert contents(tmp_path / "one") == contents(tmp_path / "two") != contents(tmp_path / "other")


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_set_begins_with_a_shorter_one(name: str, tmp_path: Path) -> None:
    materialise(name, Synthetic(train=6, val=4, image_size=32), tmp_path / "short")
    materialise(name, Synthetic(train=12, val=4, image_size=32), tmp_path / "long")
    short, long = contents(tmp_path / "short"), contents(tmp_path / "long")
    images = {path for path in short if not path.startswith("annotations/instances")}
    assert all(long[path] == short[path] for path in images)


def test_folders_are_drawn_once_and_again_when_touched(tmp_path: Path) -> None:
    numbers, folder = Synthetic(train=10, val=10, image_size=32), tmp_path / "set"
    materialise("imagenet", numbers, folder)
    image = next((folder / "train").rglob("*.JPEG"))
    before = image.stat().st_ino
    materialise("imagenet", numbers, folder)
    assert image.stat().st_ino == before
    image.unlink()
    materialise("imagenet", numbers, folder)
    assert image.exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        materialise("imagenet", Synthetic(train=10, val=10, image_size=32), tmp_path / "set")
    assert os.listdir(tmp_path) == []


def test_the_name_of_a_folder_tells_its_contents_apart() -> None:
    numbers = Synthetic()
    changed = [
        numbers.model_copy(update={field: 77}) for field in ("train", "val", "image_size", "seed")
    ]
    assert len(
        {folder_name(name, each) for name in NAMES for each in (numbers, *changed)}
    ) == 5 * len(NAMES)


def test_outlines_enclose_what_was_painted() -> None:
    side = 64
    for index in range(60):
        rng = np.random.default_rng([3, index])
        _, annotations = instances.draw(rng, side, index)
        together = np.zeros((side, side), dtype=int)
        for annotation in annotations:
            runs = coco_mask.frPyObjects(annotation["segmentation"], side, side)
            mask = coco_mask.decode(coco_mask.merge(runs) if isinstance(runs, list) else runs)
            together += mask
            assert mask.sum() == annotation["area"]
            rows, columns = np.nonzero(mask)
            x, y, width, height = annotation["bbox"]
            assert abs(columns.min() - x) <= 3 and abs(columns.max() + 1 - x - width) <= 3
            assert abs(rows.min() - y) <= 3 and abs(rows.max() + 1 - y - height) <= 3
        assert together.max(initial=0) <= 1  # nothing hides anything


def test_coco_tools_read_the_annotations(tmp_path: Path) -> None:
    materialise("coco", Synthetic(train=60, val=10, image_size=64), tmp_path / "coco")
    path = tmp_path / "coco" / "annotations" / "instances_train2017.json"
    tools = COCO(str(path))
    assert sorted(tools.getCatIds()) == [1, 3, 7, 16, 44, 62]
    annotations = tools.loadAnns(tools.getAnnIds())
    assert all(
        tools.annToMask(annotation).sum() == annotation["area"] for annotation in annotations
    )
    assert 0 < sum(annotation["iscrowd"] for annotation in annotations) < 10
    counts = [len(tools.getAnnIds(imgIds=[image])) for image in tools.getImgIds()]
    assert min(counts) == 0 and max(counts) <= 6
    assert json.loads(path.read_text())["images"][0]["file_name"] == "000000000007.jpg"


def test_regions_label_every_pixel_that_has_a_name(tmp_path: Path) -> None:
    materialise("ade20k", Synthetic(train=40, val=4, image_size=48), tmp_path / "ade")
    seen: set[int] = set()
    for path in (tmp_path / "ade" / "annotations").rglob("*.png"):
        mask = Image.open(path)
        assert (mask.mode, mask.size) == ("L", (48, 48))
        seen |= set(np.unique(np.asarray(mask)).tolist())
    assert seen == set(range(len(regions.STUFF) + len(regions.THINGS) + 1))
