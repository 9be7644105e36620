"""Synthetic images for COCO: a few shapes on a ground, each outlined by the very polygon that it
was drawn with.

Shapes never overlap, so what an outline encloses and what is seen of the shape are the same pixels.
Now and then a crowd (a swarm of dots, as run lengths) or nothing at all.
"""

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from pipeline.datasets.synthetic import painting
from pipeline.datasets.synthetic.painting import Generator, Mask, Pixels

CATEGORIES = {1: "disc", 3: "square", 7: "triangle", 16: "star", 44: "cross", 62: "diamond"}
EMPTY_EVERY = 25
CROWD_EVERY = 10
MOST_OBJECTS = 6
Polygon = np.ndarray[tuple[int, int], np.dtype[np.float64]]


def files(
    split: str, count: int, side: int, rng: Callable[[int], Generator]
) -> Iterator[tuple[str, bytes]]:
    """Yield the images of a split in COCO's layout and, last, their annotations."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        image_id = (index + 1) * (7 if split == "train" else 11)  # sparse, as the official ids are
        canvas, objects = draw(rng(index), side, index)
        file_name = f"{image_id:012d}.jpg"
        images.append({"id": image_id, "file_name": file_name, "width": side, "height": side})
        annotations += [
            {"id": len(annotations) + i, "image_id": image_id, **row}
            for i, row in enumerate(objects, 1)
        ]
        yield f"{split}2017/{file_name}", painting.jpeg(canvas)

    categories = [
        {"id": i, "name": name, "supercategory": "shape"} for i, name in CATEGORIES.items()
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    yield f"annotations/instances_{split}2017.json", json.dumps(content).encode()


def draw(rng: Generator, side: int, index: int) -> tuple[Pixels, list[dict[str, Any]]]:
    """Return a scene, shape (side, side, 3), and its annotations without ids."""
    canvas = painting.ground(rng, side)
    taken = np.zeros((side, side), dtype=bool)
    if index % EMPTY_EVERY == EMPTY_EVERY // 2:
        return canvas, []

    annotations = []
    if index % CROWD_EVERY == CROWD_EVERY // 2:
        annotations.append(_crowd(rng, canvas, taken))

    count = 1 + int(rng.integers(MOST_OBJECTS))
    for _ in range(4 * count):  # a crowded scene may end with fewer
        if len(annotations) < count and (annotation := _object(rng, canvas, taken)):
            annotations.append(annotation)

    return canvas, annotations


def _object(rng: Generator, canvas: Pixels, taken: Mask) -> dict[str, Any] | None:
    """Paint one shape where there is room for it, and return its annotation."""
    side = len(canvas)
    category = int(rng.choice(list(CATEGORIES)))
    radius = side * rng.uniform(0.09, 0.2)
    centre = rng.uniform(radius + 1, side - radius - 1, 2)
    polygon = np.round(centre + radius * _outline(rng, CATEGORIES[category]), 2)
    runs = coco_mask.frPyObjects([polygon.ravel().tolist()], side, side)
    where = coco_mask.decode(runs)[..., 0].astype(bool)
    if not where.any() or (where & taken).any():
        return None

    taken |= where
    _fill(rng, canvas, where, category)
    return {
        "category_id": category,
        "iscrowd": 0,
        "bbox": _box(polygon),
        "area": float(where.sum()),
        "segmentation": [polygon.ravel().tolist()],
    }


def _outline(rng: Generator, name: str) -> Polygon:
    """Return a shape's corners as (x, y) within the unit circle, slightly turned."""
    corners = {"disc": 20, "square": 4, "triangle": 3, "diamond": 4, "star": 10, "cross": 12}[name]
    start = {"square": np.pi / 4, "triangle": -np.pi / 2, "star": -np.pi / 2}.get(name, 0.0)
    angles = start + rng.uniform(-0.2, 0.2) + np.arange(corners) * 2 * np.pi / corners

    reach = np.ones(corners)
    if name == "star":
        reach[1::2] = 0.45
    if name == "cross":  # three corners an arm: two at its end, one between it and the next
        angles += np.tile([-0.20, 0.20 - np.pi / 6, 0.0], 4) + np.tile([0.0, 0.0, -np.pi / 12], 4)
        reach[2::3] = 0.30

    stretch = np.array([1.0, 0.6]) if name == "diamond" else np.ones(2)
    polygon: Polygon = np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None] * stretch
    return polygon


def _fill(rng: Generator, canvas: Pixels, where: Mask, category: int) -> None:
    """Paint `where` in a texture of its category."""
    y, x = painting.grid(len(canvas))
    period = max(4.0, len(canvas) / 14)
    phase = rng.random(2) * period

    light = {
        1: lambda: painting.stripes(y, x, period, 0.0, phase[0]),
        3: lambda: painting.checks(y, x, period, (phase[0], phase[1])),
        7: lambda: painting.stripes(y, x, period, np.pi / 2, phase[0]),
        16: lambda: np.ones_like(where),
        44: lambda: painting.stripes(y, x, period, np.pi / 4, phase[0]),
        62: lambda: np.zeros_like(where),
    }[category]()

    painting.paint(
        canvas, where, light, painting.colour(rng, 1.0, 0.4), painting.colour(rng, 0.15, 0.5)
    )


def _crowd(rng: Generator, canvas: Pixels, taken: Mask) -> dict[str, Any]:
    """Paint a swarm of dots in a corner region, and return its annotation with uncompressed run
    lengths.
    """
    side = len(canvas)
    y, x = painting.grid(side)

    where = np.zeros((side, side), dtype=bool)
    top, left = rng.uniform(0.1, 0.6, 2) * side
    for cy, cx in rng.uniform(0, 0.3, (8, 2)) * side + (top, left):
        where |= (y - cy) ** 2 + (x - cx) ** 2 < (side / 24) ** 2

    taken |= where
    category = min(CATEGORIES)
    _fill(rng, canvas, where, category)

    rows = np.flatnonzero(where.any(1))
    columns = np.flatnonzero(where.any(0))
    box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]

    return {
        "category_id": category,
        "iscrowd": 1,
        "bbox": [float(edge) for edge in box],
        "area": float(where.sum()),
        "segmentation": {"size": [side, side], "counts": run_lengths(where)},
    }


def run_lengths(mask: Mask) -> list[int]:
    """Return a mask as COCO's uncompressed run lengths: down the columns, zeros first."""
    runs = [(bool(value), sum(1 for _ in run)) for value, run in groupby(mask.T.ravel())]
    counts = [length for _, length in runs]
    return [0, *counts] if runs[0][0] else counts


def _box(polygon: Polygon) -> list[float]:
    """Return left, top, width and height of an outline in pixels."""
    low = polygon.min(axis=0)
    high = polygon.max(axis=0)
    return [round(float(edge), 2) for edge in (*low, *(high - low))]
