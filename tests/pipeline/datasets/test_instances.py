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

from pipeline.datasets.base import list_folder
from pipeline.datasets.coco import coco
from pipeline.datasets.coco.instances import clean
from pipeline.datasets.coco.segmentations import compressed, lengths_of
from pipeline.datasets.notes import Notes
from pipeline.datasets.objects import why_unseen
from pipeline.datasets.targets import Tally

SHAPE = [[1.0, 1.0, 5.0, 1.0, 5.0, 4.0]]


def row(**changes: Any) -> dict[str, Any]:
    sound = {"bbox": [1.0, 1.0, 4.0, 3.0], "area": 12.0, "iscrowd": 0, "segmentation": SHAPE}
    return {"id": 918, "image_id": 1, "category_id": 3, **sound, **changes}


def runs(counts: Any, size: tuple[int, int] = (30, 40)) -> dict[str, Any]:
    return row(iscrowd=1, segmentation={"size": list(size), "counts": counts})


TWO = [SHAPE[0], [1.0, 1.0, 2.0, 2.0]]
COMPRESSED = coco_mask.encode(np.asfortranarray(np.eye(30, 40, dtype=np.uint8)))["counts"].decode()
BARE: dict[str, list[object]] = {"segmentation": []}
NAN, INF = float("nan"), float("inf")
ZIGZAG = [[1e5 * (i % 2), i % 30] for i in range(100)]
SAME: dict[str, Any] = {}
# what is found; in train: bucket and reason, notes, fields that change; in val, where it differs
CASES = [
    (row(), "seen", [], SAME),
    (
        row(bbox=[2, 3, 0, 5]),
        "dropped degenerate_box",
        ["degenerate_box"],
        None,
        "judging_only degenerate_box",
        ["degenerate_box_kept"],
        SAME,
    ),
    (
        row(bbox=[2, 3, 5.5, -1]),
        "dropped negative_box",
        ["negative_box"],
        None,
        "judging_only negative_box",
        ["negative_box"],
        SAME,
    ),
    (
        row(bbox=[20, 16, -16, -12]),
        "dropped negative_box",
        ["negative_box"],
        None,
        "judging_only negative_box",
        ["negative_box"],
        SAME,
    ),
    (
        row(bbox=[-3, 2.5, 10, 40]),
        "seen",
        ["clipped_box"],
        {"bbox": [0, 2.5, 7, 27.5]},
        "seen",
        ["box_outside_kept"],
        SAME,
    ),
    (
        row(bbox=[-1e8, 2.5, 2e8, 4]),
        "seen",
        ["clipped_box"],
        {"bbox": [0, 2.5, 40, 4]},
        "seen",
        ["box_outside_kept"],
        SAME,
    ),
    (
        row(bbox=[50, 3, 5, 5]),
        "dropped degenerate_box",
        ["clipped_box", "degenerate_box"],
        None,
        "seen",
        ["box_outside_kept"],
        SAME,
    ),
    (
        row(bbox=[20.0, 12.0, 30.0, 25.0], segmentation=[[20, 12, 30, 12, 30, 25, 20, 25]]),
        "dropped looks_like_corners",
        ["looks_like_corners"],
        None,
    ),
    (
        row(bbox=[0.5, 0, 40.5, 30], segmentation=[[0.5, 0, 41, 0, 41, 30, 0.5, 30]]),
        "seen",
        ["clipped_box"],
        {"bbox": [0.5, 0, 39.5, 30]},
        "seen",
        ["box_outside_kept"],
        SAME,
    ),
    (
        row(bbox=[20.0, 12.0, 30.0, 25.0]),
        "seen",
        ["clipped_box"],
        {"bbox": [20.0, 12.0, 20.0, 18.0]},
        "seen",
        ["box_outside_kept"],
        SAME,
    ),
    (row(bbox=[0.005, 0, 40, 30]), "seen", [], SAME),
    (
        row(bbox=[0.1, 0.2, 0.5, 0.3]),
        "judging_only looks_like_fractions",
        ["looks_like_fractions"],
        SAME,
    ),
    (row(bbox=[3, 3, 0.5, 9]), "judging_only below_a_pixel", ["below_a_pixel"], SAME),
    (row(bbox=[NAN, 0, 1, 1]), "dropped not_finite", ["not_finite"], None),
    (row(bbox=[0, 0, INF, 1]), "dropped not_finite", ["not_finite"], None),
    (row(bbox=[0, 10**30, 1, 1]), "dropped not_finite", ["not_finite"], None),
    (row(area=10**400), "seen", ["area_computed"], {"area": 6.0}),
    (row(area=NAN), "seen", ["area_computed"], {"area": 6.0}),
    (row(area=0), "seen", ["area_computed"], {"area": 6.0}),
    (row(area=-192.0), "seen", ["area_computed"], {"area": 6.0}),
    (row(area=0, **BARE), "seen no_mask", ["area_computed", "no_mask"], {"area": 12.0}),
    (row(area=None), "seen", ["area_missing"], {"area": 6.0}),
    (row(iscrowd=None), "seen", ["iscrowd_missing"], {"iscrowd": 0}),
    (row(iscrowd=False), "seen", ["iscrowd_boolean"], {"iscrowd": 0}),
    (row(iscrowd=True), "judging_only crowd", ["iscrowd_boolean"], {"iscrowd": 1}),
    (row(segmentation=[[*SHAPE[0], NAN, 1.0]]), "seen not_finite", ["not_finite"], BARE),
    (
        row(segmentation=[[*SHAPE[0], 10**400, 1.0]]),
        "seen polygon_far_outside",
        ["polygon_far_outside"],
        BARE,
    ),
    (
        row(segmentation=[[*SHAPE[0], 1e8, 1.0]]),
        "seen polygon_far_outside",
        ["polygon_far_outside"],
        BARE,
    ),
    (
        row(segmentation=[[100, 1, 105, 1, 105, 4]]),
        "seen polygon_far_outside",
        ["polygon_far_outside"],
        BARE,
    ),
    (
        row(segmentation=[[x for point in ZIGZAG for x in point]]),
        "seen outline_too_long",
        ["outline_too_long"],
        BARE,
    ),
    (
        row(segmentation=[[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]]),
        "seen looks_like_fractions",
        ["looks_like_fractions"],
        BARE,
    ),
    (row(segmentation=TWO), "seen", ["degenerate_polygon"], {"segmentation": SHAPE}),
    (row(segmentation=TWO[1:]), "seen degenerate_polygon", ["degenerate_polygon"], BARE),
    (row(segmentation=[[*SHAPE[0], 1.0]]), "seen degenerate_polygon", ["degenerate_polygon"], BARE),
    (row(**BARE), "seen no_mask", ["no_mask"], SAME),
    (row(segmentation=None), "seen no_mask", ["no_mask"], BARE),
    (runs([0, 1200]), "judging_only crowd", [], SAME),
    (runs(COMPRESSED), "judging_only crowd", [], SAME),
    (
        runs(f"{COMPRESSED.encode()}"),
        "judging_only crowd",
        [],
        {"segmentation": runs(COMPRESSED)["segmentation"]},
    ),
    (runs([0, 1199]), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs([0, 1300, -100]), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs([0, 2**64 + 1200]), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs([0, 1200], (40, 30)), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs(COMPRESSED[:-1]), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs("b'" + "(" * 300), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs("\x00\uffff"), "judging_only crowd bad_rle", ["bad_rle"], BARE),
    (runs([]), "judging_only crowd bad_rle", ["bad_rle"], BARE),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_becomes_of_an_annotation(case: tuple[Any, ...]) -> None:
    found, *train = case[:4]
    for exact, (words, codes, changes) in ((False, train), (True, case[4:] or train)):
        bucket, *reasons = words.split()
        tally, notes = Tally(), Notes()
        cleaned = clean(found, 40, 30, exact, "a.jpg", tally, notes)
        carried = {name: value for name, value in found.items() if name != "image_id"}
        assert cleaned == (None if changes is None else {**carried, **changes})
        bare = cleaned is not None and not cleaned["segmentation"]
        assert tally.record() == {
            "listed": 1,
            "seen": int(bucket == "seen"),
            "judging_only": {reasons[0]: 1} if bucket == "judging_only" else {},
            "dropped": {reasons[0]: 1} if bucket == "dropped" else {},
            "without_mask": {reasons[-1]: 1} if bare else {},
        }
        assert notes.counts == dict.fromkeys(codes, 1)
        assert all(
            example.startswith("a.jpg annotation 918") for (example,) in notes.examples.values()
        )
        if cleaned is not None:
            assert (why_unseen(cleaned) is None) == (bucket == "seen")
            compressed(cleaned["segmentation"], (30, 40))  # the official tool survives it


def test_a_row_that_leaves_out_area_and_crowd_has_them_computed() -> None:
    found = {name: value for name, value in row().items() if name not in ("area", "iscrowd")}
    tally, notes = Tally(), Notes()
    cleaned = clean(found, 40, 30, False, "a.jpg", tally, notes)
    assert cleaned is not None and (cleaned["area"], cleaned["iscrowd"]) == (6.0, 0)
    assert notes.counts == {"area_missing": 1, "iscrowd_missing": 1} and tally.seen == 1


@given(st.integers(1, 40), st.integers(1, 40), st.randoms())
def test_run_lengths_are_read_as_the_official_tool_writes_them(
    height: int, width: int, random: Any
) -> None:
    mask = np.random.default_rng(random.getrandbits(32)).random((height, width)) < random.random()
    text = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    read = lengths_of(text)
    assert read is not None and sum(read) == height * width
    assert (np.repeat(np.arange(len(read)) % 2, read) == mask.ravel(order="F")).all()


def test_real_annotations_are_carried_unchanged() -> None:
    source = SHARED / "real" / "coco"
    if not source.is_dir():
        pytest.skip(f"no photographs in {source}")
    listing = list_folder("coco", source, {})
    path = Path(source / "annotations" / "instances_val2017.json")
    official = {row["id"]: row for row in json.loads(path.read_text())["annotations"]}
    targets = [
        coco.target_bytes(
            listing.read,
            sample,
            (sample.target["width"], sample.target["height"]),
            listing.classes,
            1,
        )
        for sample in listing.splits["val"]
    ]
    carried = [row for target in targets for row in json.loads(target.data)["annotations"]]
    assert len(carried) == len(official) == Tally.sum(target.tally for target in targets).listed > 0
    assert all(official[row["id"]].items() >= row.items() for row in carried)
    print([target.notes for target in targets])
