"""COCO's annotation rows: what is dropped, clipped, kept and counted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SHARED
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.datasets import list_folder
from pipeline.datasets.instances import clean, run_lengths
from pipeline.datasets.notes import Notes

SHAPE = [[1.0, 1.0, 5.0, 1.0, 5.0, 4.0]]


def row(**changes: Any) -> dict[str, Any]:
    sound = {"bbox": [1.0, 1.0, 4.0, 3.0], "area": 12.0, "iscrowd": 0, "segmentation": SHAPE}
    return {"id": 918, "image_id": 1, "category_id": 3, **sound, **changes}


def runs(counts: Any, size: tuple[int, int] = (30, 40)) -> dict[str, Any]:
    return row(iscrowd=1, segmentation={"size": list(size), "counts": counts})


TWO = [SHAPE[0], [1.0, 1.0, 2.0, 2.0]]
COMPRESSED = coco_mask.encode(np.asfortranarray(np.eye(30, 40, dtype=np.uint8)))["counts"].decode()
CASES = [  # what is found; in train: its note and the fields that change (None: dropped); the same in val
    (row(), None, {}, None, {}),
    (row(bbox=[2, 3, 0, 5]), "degenerate_box", None, "degenerate_box_kept", {}),
    (row(bbox=[2, 3, 5.5, -1]), "degenerate_box", None, "degenerate_box_kept", {}),
    (row(bbox=[-3, 2.5, 10, 40]), "clipped_box", {"bbox": [0, 2.5, 7, 27.5]}, "box_outside_kept", {}),
    (row(bbox=[0.005, 0, 40, 30]), None, {}, None, {}),
    (row(bbox=[float("nan"), 0, 1, 1]), "not_finite", None, "not_finite", None),
    (row(bbox=[0, 0, float("inf"), 1]), "not_finite", None, "not_finite", None),
    (row(area=10**400), "not_finite", None, "not_finite", None),
    (row(segmentation=[[*SHAPE[0], float("nan"), 1.0]]), "not_finite", None, "not_finite", None),
    (row(segmentation=TWO), "degenerate_polygon", {"segmentation": SHAPE}, "degenerate_polygon", "as in train"),
    (row(segmentation=TWO[1:]), "degenerate_polygon", None, "degenerate_polygon", None),
    (row(segmentation=[[*SHAPE[0], 1.0]]), "degenerate_polygon", None, "degenerate_polygon", None),
    (row(segmentation=[]), "degenerate_polygon", None, "degenerate_polygon", None),
    (runs([0, 1200]), None, {}, None, {}),
    (runs(COMPRESSED), None, {}, None, {}),
    (runs([0, 1199]), "bad_rle", None, "bad_rle", None),
    (runs([0, 1300, -100]), "bad_rle", None, "bad_rle", None),
    (runs([0, 1200], (40, 30)), "bad_rle", None, "bad_rle", None),
    (runs(COMPRESSED[:-1]), "bad_rle", None, "bad_rle", None),
    (runs("\x00\uffff"), "bad_rle", None, "bad_rle", None),
    (runs([]), "bad_rle", None, "bad_rle", None),
]  # fmt: skip


@pytest.mark.parametrize(("found", "train_note", "train", "val_note", "val"), CASES)
def test_what_becomes_of_an_annotation(found: Any, train_note: Any, train: Any, val_note: Any, val: Any) -> None:
    val = train if val == "as in train" else val
    for exact, note, changes in ((False, train_note, train), (True, val_note, val)):
        notes = Notes()
        cleaned = clean(found, 40, 30, exact, "a.jpg", notes)
        carried = {name: value for name, value in found.items() if name != "image_id"}
        assert cleaned == (None if changes is None else {**carried, **changes})
        examples = {name: ["a.jpg annotation 918"] for name in notes.counts}
        assert note is None or notes.counts[note] == 1
        assert len(notes.counts) == (note is not None) and notes.examples == examples


def test_a_box_beside_the_image_is_clipped_away() -> None:
    notes = Notes()
    assert clean(row(bbox=[50, 3, 5, 5]), 40, 30, False, "a.jpg", notes) is None
    assert notes.counts == {"clipped_box": 1, "degenerate_box": 1}
    assert clean(row(bbox=[50, 3, 5, 5]), 40, 30, True, "a.jpg", notes) is not None


@given(st.integers(1, 40), st.integers(1, 40), st.randoms())
def test_run_lengths_are_read_as_the_official_tool_writes_them(height: int, width: int, random: Any) -> None:
    mask = np.random.default_rng(random.getrandbits(32)).random((height, width)) < random.random()
    text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    read = run_lengths(text)
    assert read is not None and sum(read) == height * width
    assert (np.repeat(np.arange(len(read)) % 2, read) == mask.ravel(order="F")).all()


def test_real_annotations_are_carried_unchanged() -> None:
    source = SHARED / "real" / "coco"
    if not source.is_dir():
        pytest.skip(f"no photographs in {source}")
    listing = list_folder("coco", source, {})
    path = Path(source / "annotations" / "instances_val2017.json")
    official = {row["id"]: row for row in json.loads(path.read_text())["annotations"]}
    carried = [row for sample in listing.splits["val"] for row in sample.target["annotations"]]
    assert len(carried) == len(official) > 0
    assert all(official[row["id"]].items() >= row.items() for row in carried)
    print(listing.notes)
