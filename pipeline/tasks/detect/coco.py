"""COCO's twelve numbers for boxes and for masks, as pycocotools computes them.

Ranks bring masks into COCO's run lengths and keep arrays of them; one process joins these by image
and has faster-coco-eval match and accumulate class by class, which keeps the whole of COCO's
validation set small in memory. The size of a mask is its own area (so did mmdetection from 2.12 on;
before, it was that of the detection's box).

A new metric that is a mean over the accumulated arrays is a row of `METRICS`; any other one is
computed in `CocoEvaluator.result`. It is published under its name; for the model card, the report
and searches by it, describe it in `about.py` too. This file is part of what a run's id is a digest
of (`pipeline.runs.identity`): whatever is changed here, every run of detection gets a new id and is
trained again. A change of `about.py` trains nothing again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import write_text
from pipeline.datasets.coco.segmentations import compressed
from pipeline.shards.manifest import ClassEntry
from pipeline.tasks.base import Result, distinct

Array = NDArray[Any]
Columns = dict[str, Array]
KINDS = {"box": "bbox", "mask": "segm"}


class MetricCells(NamedTuple):
    """The cells of the accumulated arrays that one of COCO's numbers is the mean of; positions on
    each axis.
    """

    curve: str
    threshold: int | slice = slice(None)  # of the IoU: 0.5, 0.55, ... 0.95
    area_range: int = 0  # all, small (below 32²), medium (below 96²), large
    max_detections: int = 2  # of a class in an image: 1, 10, 100


METRICS = {
    "ap": MetricCells("precision"),
    "ap50": MetricCells("precision", threshold=0),
    "ap75": MetricCells("precision", threshold=5),
    "ap_small": MetricCells("precision", area_range=1),
    "ap_medium": MetricCells("precision", area_range=2),
    "ap_large": MetricCells("precision", area_range=3),
    "ar1": MetricCells("recall", max_detections=0),
    "ar10": MetricCells("recall", max_detections=1),
    "ar100": MetricCells("recall", max_detections=2),
    "ar_small": MetricCells("recall", area_range=1),
    "ar_medium": MetricCells("recall", area_range=2),
    "ar_large": MetricCells("recall", area_range=3),
}


class CocoEvaluator:
    """Average precision and recall of boxes and, where the detector gives them, of masks, in
    percent.

    Names are `box_` or `mask_` and those of `METRICS`. Ground truth comes from the shards' records,
    so that an image counts in which there is nothing to find, or in which nothing was found. An
    object that has a box and no mask counts for boxes alone.

    Args:
        classes: the manifest's classes: labels are their positions, records name them by `id`.
    """

    def __init__(self, classes: Sequence[ClassEntry]) -> None:
        self._classes = list(classes)
        self._index = {entry.id: label for label, entry in enumerate(classes)}
        self._images: list[Columns] = []
        self._truths: list[Columns] = []
        self._found: list[Columns] = []
        self._mask_given: set[bool] = set()

    def update(self, outputs: Sequence[Mapping[str, Any]], batch: Mapping[str, Any]) -> None:
        """Add one batch.

        Args:
            outputs: for each image `boxes` (K, 4) as left, top, right, bottom in pixels of the
                original image, `scores` (K,) and `labels` (K,), and `masks`, a list of K compressed
                run lengths (`size`, `counts`) of the original size, unless the detector has none.
            batch: `records`, the shards' COCO records of the same images.

        Raises:
            ValueError: boxes, scores, labels or masks do not go together, or not with the image.
        """
        for output, record in zip(outputs, batch["records"], strict=True):
            image = record["image_id"]
            size = (record["height"], record["width"])
            self._images.append({"image": np.array([image]), "size": np.array([size])})
            self._truths.append(
                {"image": np.full(len(record["annotations"]), image), **self._truth(record)}
            )

            detections = _detections(output, len(self._classes), size)
            self._found.append({"image": np.full(len(detections["score"]), image), **detections})
            self._mask_given.add("masks" in output)

    def _truth(self, record: Mapping[str, Any]) -> Columns:
        rows = record["annotations"]
        runs = [
            compressed(row["segmentation"], (record["height"], record["width"])) for row in rows
        ]

        return {
            "label": np.array([self._index[row["category_id"]] for row in rows], dtype=np.int64),
            "box": np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
            "area": np.array([row["area"] for row in rows], dtype=np.float64),
            "crowd": np.array([row["iscrowd"] for row in rows], dtype=bool),
            "masked": np.array([bool(row["segmentation"]) for row in rows], dtype=bool),
            **_packed(runs),
        }

    def state(self) -> dict[str, Any]:
        """Return what this rank saw: columns of images, annotations and detections; run lengths are
        packed bytes.
        """
        parts = {"images": self._images, "truths": self._truths, "found": self._found}
        return {name: _joined(rows) for name, rows in parts.items()} | {
            "mask_given": sorted(self._mask_given)
        }

    def result(self, states: list[dict[str, Any]]) -> Result:
        """Return the numbers over all ranks; one of which there is no ground truth is left out.

        Raises:
            ValueError: an image was evaluated twice, or masks are there for some images only.
        """
        images, truths, detections = (
            _gathered(states, name) for name in ("images", "truths", "found")
        )
        mask_given = {given for state in states for given in state["mask_given"]}
        _check_together(images, mask_given)

        names = distinct([entry.name for entry in self._classes])
        metrics = dict[str, float]()
        per_class: dict[str, dict[str, float]] = {}

        for kind in ("box", "mask") if mask_given == {True} else ("box",):
            labels = _labels(kind, truths)
            # class by class, so that the evaluator holds the masks of one at a time
            curves = [_curves(kind, label, images, truths, detections) for label in labels]
            metrics |= _numbers(kind, curves)
            for label, curve in zip(labels, curves, strict=True):
                per_class.setdefault(names[label], {})[f"{kind}_ap"] = _numbers(kind, [curve])[
                    f"{kind}_ap"
                ]

        return Result(metrics, per_class)


def results_format(
    states: list[dict[str, Any]], classes: Sequence[ClassEntry]
) -> list[dict[str, Any]]:
    """Return all ranks' detections as COCO's results format has them: by image id, and by falling
    score in an image.

    Boxes are left, top, width and height; category ids are the data set's; `segmentation` is there
    with masks.
    """
    images, detections = (_gathered(states, name) for name in ("images", "found"))
    with_masks = all(given for state in states for given in state["mask_given"])
    sizes = (
        dict(zip(images["image"].tolist(), images["size"].tolist(), strict=True)) if images else {}
    )

    rows = []
    for index in np.lexsort((-detections["score"], detections["image"])) if detections else ():
        image = int(detections["image"][index])
        row = {
            "image_id": image,
            "category_id": classes[detections["label"][index]].id,
            "bbox": detections["box"][index].tolist(),
            "score": float(detections["score"][index]),
        }

        runs = (
            {
                "segmentation": {
                    "size": sizes[image],
                    "counts": _unpacked(detections, index).decode(),
                }
            }
            if with_masks
            else {}
        )
        rows.append({**row, **runs})
    return rows


def write_results(path: Path, states: list[dict[str, Any]], classes: Sequence[ClassEntry]) -> None:
    """Write all ranks' detections as one JSON list in COCO's results format, whole or not at
    all.
    """
    write_text(
        path,
        json.dumps(results_format(states, classes), separators=(",", ":"), allow_nan=False) + "\n",
    )


def _detections(output: Mapping[str, Any], classes: int, size: tuple[int, int]) -> Columns:
    """Return one image's detections as columns, boxes as left, top, width, height."""
    boxes, scores, labels = (
        output[name].detach().cpu().numpy().astype(dtype)
        for name, dtype in (("boxes", np.float64), ("scores", np.float64), ("labels", np.int64))
    )
    masks = output.get("masks")
    count = len(scores)

    if (
        boxes.shape != (count, 4)
        or len(labels) != count
        or (masks is not None and len(masks) != count)
    ):
        raise ValueError(
            "an image's boxes (K, 4), scores (K,), labels (K,) and masks should be as many"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("boxes or scores are not finite numbers")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"labels should lie from 0 to {classes - 1}, found {labels.min()} to {labels.max()}"
        )
    if any(tuple(mask["size"]) != size for mask in masks or ()):
        raise ValueError(f"masks should be of the image's size, height and width {size}")

    boxes[:, 2:] -= boxes[:, :2]
    area = np.prod(boxes[:, 2:], axis=1) if masks is None else _areas(masks)

    return {
        "label": labels,
        "score": scores,
        "box": boxes,
        "area": area,
        **_packed([mask["counts"] for mask in masks] if masks is not None else [b""] * count),
    }


def _areas(masks: Sequence[Mapping[str, Any]]) -> Array:
    from pycocotools import mask as coco_mask

    # a list of more than 255 overflows
    return np.array([coco_mask.area(mask) for mask in masks], dtype=np.float64)


def _packed(runs: Sequence[bytes]) -> Columns:
    """Return byte strings as one array and their lengths."""
    return {
        "runs": np.frombuffer(b"".join(runs), dtype=np.uint8),
        "length": np.array([len(run) for run in runs], dtype=np.int64),
    }


def _unpacked(columns: Columns, index: int) -> bytes:
    start = columns["start"][index]
    return columns["runs"][start : start + columns["length"][index]].tobytes()


def _joined(parts: Sequence[Columns]) -> Columns:
    return (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    )


def _gathered(states: list[dict[str, Any]], name: str) -> Columns:
    """Return one table of all ranks with its rows by ascending image, in each image as the detector
    gave them.
    """
    columns = _joined([state[name] for state in states if state[name]])
    if "length" in columns:
        columns["start"] = np.cumsum(columns["length"]) - columns["length"]
    order = np.argsort(columns["image"], kind="stable") if columns else ()
    return {name: column if name == "runs" else column[order] for name, column in columns.items()}


def _check_together(images: Columns, mask_given: set[bool]) -> None:
    """Refuse an image that was evaluated twice, and masks that came for some images only."""
    ids, times = (
        np.unique(images["image"], return_counts=True) if images else (np.array([]), np.array([]))
    )
    if (times > 1).any():
        raise ValueError(f"image {ids[times > 1][0]} was evaluated more than once")
    if len(mask_given) > 1:
        raise ValueError("the detector gave masks for some images and none for others")


def _curves(
    kind: str, label: int, images: Columns, truths: Columns, detections: Columns
) -> dict[str, Array]:
    """Return one class's precision (thresholds, recalls, 1, area ranges, limits of detections) and
    recall without the second axis.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    seen = {
        "truths": list(_rows(kind, label, images, truths)),
        "found": list(_rows(kind, label, images, detections)),
    }
    positions = sorted({row["image_id"] for rows in seen.values() for row in rows})

    sizes = [
        {"id": i, "height": int(images["size"][i, 0]), "width": int(images["size"][i, 1])}
        for i in positions
    ]
    sets = {
        name: COCO({"images": sizes, "annotations": rows, "categories": [{"id": 0}]})
        for name, rows in seen.items()
    }

    run = COCOeval_faster(sets["truths"], sets["found"], KINDS[kind])
    run.evaluate()
    run.accumulate()
    return {name: run.eval[name] for name in ("precision", "recall")}


def _labels(kind: str, truths: Columns) -> list[int]:
    """Return the classes of which there is an object to be found."""
    if not truths:
        return []
    judged = ~truths["crowd"] & (truths["masked"] if kind == "mask" else True)
    return sorted(set(truths["label"][judged].tolist()))


def _rows(kind: str, label: int, images: Columns, columns: Columns) -> Iterator[dict[str, Any]]:
    """Yield annotations or detections of a class as the evaluator takes them.

    Their `image_id` is the image's position in `images`, not COCO's id of it, which the columns
    hold; `id` counts from 1, because 0 means unmatched to the evaluator.
    """
    chosen = np.flatnonzero(columns["label"] == label) if columns else np.array([], dtype=np.int64)
    if kind == "mask" and "masked" in columns:
        chosen = chosen[columns["masked"][chosen]]

    for number, index in enumerate(chosen.tolist(), start=1):
        position = int(np.searchsorted(images["image"], columns["image"][index]))
        row = {
            "id": number,
            "image_id": position,
            "category_id": 0,
            "bbox": columns["box"][index].tolist(),
        }

        row["iscrowd"] = int(columns["crowd"][index]) if "crowd" in columns else 0
        if "score" in columns:
            row["score"] = float(columns["score"][index])
        row["area"] = float(columns["area"][index])

        if kind == "mask":
            row["segmentation"] = {
                "size": images["size"][position].tolist(),
                "counts": _unpacked(columns, index),
            }
        elif "score" in columns:
            row["area"] = row["bbox"][2] * row["bbox"][3]
        yield row


def _numbers(kind: str, curves: Sequence[dict[str, Array]]) -> dict[str, float]:
    """Return COCO's numbers in percent, each over the classes that have ground truth of its
    size.
    """
    numbers = {}

    for name, cells in METRICS.items():
        # `...` is the axis of recalls, which the curve of recall has not
        parts = [
            curve[cells.curve][cells.threshold, ..., cells.area_range, cells.max_detections].ravel()
            for curve in curves
        ]
        values = np.concatenate(parts) if parts else np.array([])
        if (values := values[values > -1]).size:
            numbers[f"{kind}_{name}"] = 100 * float(values.mean())

    return numbers
