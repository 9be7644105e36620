"""An image twice: what is there at the left, what was found at the right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.pictures import chips, legend, paint
from pipeline.pictures.chips import Caption, Rectangle
from pipeline.pictures.paint import Colour, Mask, Pixels

FILL = 0.42
CROWD_FILL = 0.25
MOST_NAMES = 12
LEAST_SIDE = 400
"""Pixels of the longer side from which on names can be read."""


@dataclass(frozen=True)
class Objects:
    """What stands in an image.

    Attributes:
        boxes: (K, 4), left, top, right, bottom in the image's pixels.
        labels: (K,), class indices.
        masks: K maps (H, W), or none at all.
        scores: (K,) in [0, 1]; None for ground truth.
        crowd: (K,), whether it is many objects in one; None where nothing is.
    """

    boxes: NDArray[Any]
    labels: NDArray[Any]
    masks: Sequence[Mask] = ()
    scores: NDArray[Any] | None = None
    crowd: NDArray[Any] | None = None

    def is_crowd(self, index: int) -> bool:
        """Say whether one is many objects in one."""
        return self.crowd is not None and bool(self.crowd[index])

    def picked(self, chosen: NDArray[Any]) -> "Objects":
        """Return some of them, by index."""
        masks = [self.masks[i] for i in chosen] if len(self.masks) else ()
        scores, crowd = (
            None if column is None else column[chosen] for column in (self.scores, self.crowd)
        )
        return Objects(self.boxes[chosen], self.labels[chosen], masks, scores, crowd)


def draw(
    image: Pixels,
    truth: Objects,
    detected: Objects,
    classes: Sequence[str],
    side: int = 400,
    least: float = 0.3,
    most: int = 20,
) -> Image.Image:
    """Return ground truth beside detections, objects outlined, tinted and named, over the names of
    their classes.

    Args:
        image: (H, W, 3) uint8.
        truth: what is there.
        detected: what was found, with scores.
        classes: names by label.
        side: pixels of a panel's longer side; smaller images are enlarged.
        least: lowest score that is shown.
        most: how many detections are shown, those of the highest scores.
    """
    best = _surest(detected, least, most)

    panels = [
        paint.headed(
            _panel(image, truth, classes, side),
            "ground truth" if len(truth.labels) else "nothing there",
        ),
        paint.headed(
            _panel(image, best, classes, side), _said(len(best.labels), len(detected.labels), least)
        ),
    ]

    named = legend.entries(np.concatenate([truth.labels, best.labels]), classes)
    return legend.under(paint.side_by_side(panels), named)


def draw_found(
    image: Pixels, detected: Objects, classes: Sequence[str], most: int = 50
) -> Image.Image:
    """Return an image with what was found in it, over the names of the classes.

    Args:
        image: (H, W, 3) uint8; a small one is enlarged.
        detected: in the image's pixels, with scores.
        classes: names by label.
        most: how many detections are shown, those of the highest scores.
    """
    best = _surest(detected, 0.0, most)
    panel = _panel(image, best, classes, max(LEAST_SIDE, *image.shape[:2]))
    return legend.under(Image.fromarray(panel), legend.entries(best.labels, classes))


def _surest(detected: Objects, least: float, most: int) -> Objects:
    """Return the detections of the highest scores, the surest first."""
    scores = detected.scores if detected.scores is not None else np.ones(len(detected.labels))
    order = np.argsort(-scores, kind="stable")
    return detected.picked(order[scores[order] >= least][:most])


def _said(drawn: int, count: int, least: float) -> str:
    if not count:
        return "nothing found"
    return f"found: {drawn or 'none'} of {count} shown, score {least:g} or more"


def _panel(image: Pixels, objects: Objects, classes: Sequence[str], side: int) -> Pixels:
    """Return an image with its objects: the small ones lie on top of the large."""
    height, width = image.shape[:2]
    size = paint.size_within(height, width, side)
    canvas = paint.resized(image, size)
    scale = size[0] / width

    boxes = [_box(box, scale, size) for box in objects.boxes]
    for index in sorted(range(len(boxes)), key=lambda i: -_area(boxes[i])):
        colour = paint.class_colour(int(objects.labels[index]))
        crowd = objects.is_crowd(index)
        if len(objects.masks):
            _tint(canvas, paint.resized_mask(objects.masks[index], size), colour, crowd)
        if not crowd:
            _frame(canvas, boxes[index], colour)

    picture = Image.fromarray(canvas)
    for chip in chips.placed(_names(objects, boxes, classes), size):
        chips.write(picture, chip)
    return np.asarray(picture)


def _box(box: NDArray[Any], scale: float, size: tuple[int, int]) -> Rectangle:
    """Return a box in pixels of the panel, inside it."""
    limits = (size[0] - 1, size[1] - 1, size[0] - 1, size[1] - 1)
    left, top, right, bottom = (
        int(min(max(round(edge * scale), 0), limit))
        for edge, limit in zip(box.tolist(), limits, strict=True)
    )
    return left, top, max(left, right), max(top, bottom)


def _area(box: Rectangle) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _tint(canvas: Pixels, mask: Mask, colour: Colour, crowd: bool) -> None:
    paint.blend(
        canvas, mask & paint.hatching(mask.shape) if crowd else mask, colour, 0.8 if crowd else FILL
    )
    if crowd:
        paint.blend(canvas, mask, colour, CROWD_FILL)
    paint.blend(canvas, paint.outline(mask, 1), colour, 1.0)


def _frame(canvas: Pixels, box: Rectangle, colour: Colour) -> None:
    """Draw a box two pixels wide, the inner one white, so that it shows on any ground."""
    left, top, right, bottom = box
    for inset, line, share in ((1, paint.PAPER, 0.45), (0, colour, 1.0)):
        rim = np.zeros(canvas.shape[:2], dtype=bool)
        rim[top + inset : bottom + 1 - inset, left + inset : right + 1 - inset] = True
        rim[top + inset + 1 : bottom - inset, left + inset + 1 : right - inset] = False
        paint.blend(canvas, rim, line, share)


def _names(objects: Objects, boxes: Sequence[Rectangle], classes: Sequence[str]) -> list[Caption]:
    """Return what is written: the surest, or the largest where nothing is said of that; the legend
    names the rest.
    """
    weight = [_area(box) for box in boxes] if objects.scores is None else objects.scores.tolist()

    names = []
    for index in sorted(range(len(boxes)), key=lambda i: -weight[i])[:MOST_NAMES]:
        label = int(objects.labels[index])
        text = f"crowd: {classes[label]}" if objects.is_crowd(index) else classes[label]
        score = "" if objects.scores is None else f" {float(objects.scores[index]):.2f}"
        names.append(Caption(text, score, paint.class_colour(label), boxes[index]))
    return names


def of_record(record: Mapping[str, Any], index: Mapping[int | str, int]) -> Objects:
    """Return the ground truth of a shard's COCO record; `index` is the manifest's class index of
    each category id.
    """
    from pycocotools import mask as coco_mask

    from pipeline.datasets.coco.segmentations import compressed

    rows = record["annotations"]
    size = (record["height"], record["width"])
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    runs = [{"size": size, "counts": compressed(row["segmentation"], size)} for row in rows]

    return Objects(
        boxes,
        np.array([index[row["category_id"]] for row in rows], dtype=np.int64),
        [
            coco_mask.decode(run).astype(bool) if run["counts"] else np.zeros(size, dtype=bool)
            for run in runs
        ],
        crowd=np.array([row["iscrowd"] for row in rows], dtype=bool),
    )


def of_output(output: Mapping[str, Any]) -> Objects:
    """Return the detections of one image as the evaluator takes them: tensors, and masks as run
    lengths.
    """
    from pycocotools import mask as coco_mask

    boxes, labels, scores = (
        output[name].detach().cpu().numpy() for name in ("boxes", "labels", "scores")
    )

    return Objects(
        boxes,
        labels,
        [coco_mask.decode(run).astype(bool) for run in output.get("masks", ())],
        scores,
    )
