"""Ground truth stands left and detections right, over the names of exactly the classes that are
shown.
"""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from pipeline.pictures import detections, paint
from pipeline.pictures.detections import Objects

NAMES = [f"class {i}" for i in range(12)]
HEAD, MARGIN = 22, paint.MARGIN


def objects(
    *labels: int, scores: list[float] | None = None, size: tuple[int, int] = (90, 120)
) -> Objects:
    """Return a box with a mask for each label, from left to right."""
    step = size[1] // max(1, len(labels))
    boxes = np.array(
        [[i * step + 2, 20, (i + 1) * step - 2, 80] for i in range(len(labels))], dtype=float
    )
    masks = []
    for left, top, right, bottom in boxes.astype(int).tolist():
        mask = np.zeros(size, dtype=bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return Objects(
        boxes.reshape(-1, 4),
        np.array(labels, dtype=int),
        masks,
        None if scores is None else np.array(scores),
    )


def drawn(truth: Objects, found: Objects, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    return np.asarray(
        detections.draw(np.full((*size, 3), 128, dtype=np.uint8), truth, found, NAMES)
    )


def classes_in(pixels: np.ndarray) -> set[int]:
    """Return the classes whose very colour is there."""
    there = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
    return {label for label in range(len(NAMES)) if paint.class_colour(label) in there}


@pytest.mark.parametrize("size", [(128, 128), (480, 640), (640, 480), (33, 500)])
def test_both_panels_have_the_same_size(size: tuple[int, int]) -> None:
    height, width = drawn(objects(), objects(scores=[]), size).shape[:2]
    long, short = 400, max(1, round(400 * min(size) / max(size)))
    wide, high = (long, short) if size[1] >= size[0] else (short, long)
    assert (height, width) == (high + HEAD + 2 * MARGIN, 2 * wide + 3 * MARGIN)


def test_what_is_there_stands_left_of_what_was_found() -> None:
    picture = drawn(objects(0, 3, 8), objects(1, 3, 9, 5, scores=[0.9, 0.3, 0.5, 0.29]))
    middle = picture.shape[1] // 2
    panels, legend = picture[: 300 + HEAD + 2 * MARGIN], picture[300 + HEAD + 2 * MARGIN :]
    assert classes_in(panels[:, :middle]) == {0, 3, 8}
    assert classes_in(panels[:, middle:]) == {1, 3, 9}  # the weak one is left out
    assert classes_in(legend) == {0, 1, 3, 8, 9}


def test_masks_tint_and_crowds_are_hatched() -> None:
    one = objects(4)
    crowd = Objects(one.boxes, one.labels, one.masks, crowd=np.array([True]))
    bare = Objects(one.boxes, one.labels)
    inside = np.s_[HEAD + MARGIN + 100 : HEAD + MARGIN + 200, MARGIN + 100 : MARGIN + 300]
    colours = {
        name: len(np.unique(drawn(shown, objects(scores=[]))[inside].reshape(-1, 3), axis=0))
        for name, shown in {"mask": one, "crowd": crowd, "box": bare}.items()
    }
    assert colours == {"mask": 1, "crowd": 2, "box": 1}
    assert (drawn(bare, objects(scores=[]))[inside] == 128).all()
    assert (drawn(one, objects(scores=[]))[inside] != 128).any()


def test_records_and_outputs_become_objects() -> None:
    """Polygons, run lengths in both forms, and the evaluator's compressed masks are the same
    pixels.
    """
    runs = coco_mask.frPyObjects([[2.0, 3, 30, 3, 30, 20, 2, 20]], 40, 50)[0]
    mask = coco_mask.decode(runs)
    lengths = np.diff(
        [0, *(np.flatnonzero(np.diff([0, *mask.ravel(order="F")]))).tolist(), mask.size]
    ).tolist()
    forms = [
        [[2.0, 3, 30, 3, 30, 20, 2, 20]],
        {"size": [40, 50], "counts": runs["counts"].decode()},
    ]
    forms.append({"size": [40, 50], "counts": lengths})
    rows = [
        {"category_id": 7, "bbox": [2, 3, 28, 17], "iscrowd": i // 2, "segmentation": f}
        for i, f in enumerate(forms)
    ]
    truth = detections.of_record({"height": 40, "width": 50, "annotations": rows}, {7: 5})
    assert truth.boxes.tolist() == [[2, 3, 30, 20]] * 3 and truth.labels.tolist() == [5] * 3
    assert truth.crowd is not None and truth.crowd.tolist() == [False, False, True]
    output = {
        "boxes": torch.tensor([[2.0, 3, 30, 20]]),
        "labels": torch.tensor([5]),
        "scores": torch.tensor([0.5]),
    }
    found = detections.of_output({**output, "masks": [runs]})
    assert all((one == mask).all() for one in [*truth.masks, *found.masks]) and mask.sum() > 400
    assert detections.of_output(output).masks == []
