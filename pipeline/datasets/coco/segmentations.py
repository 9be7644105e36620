"""COCO's segmentations as they are written: which of them can be drawn, and how many pixels they
cover.

The official tool draws polygons and run lengths in C without looking: a coordinate of 1e8 or run
lengths that do not fill the image end its process. So nothing reaches it that was not measured
here.
"""

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

FARTHEST = 1_000_000
"""Pixels from the image's corner; no coordinate of a polygon lies beyond."""
LONGEST = 4_000_000
"""Pixels that the outline of an annotation may measure; drawing takes 100 bytes for each."""


class Mask(NamedTuple):
    """A segmentation that can be drawn, or an empty list; `problem` is what was left out and why,
    as (code, what).
    """

    segmentation: Any
    problem: tuple[str, str] | None = None

    @property
    def area(self) -> float:
        """Return its pixels: those of run lengths, or what polygons enclose."""
        if isinstance(self.segmentation, dict):
            counts = self.segmentation["counts"]
            runs = counts if isinstance(counts, list) else lengths_of(counts) or []
            return float(sum(runs[1::2]))
        return sum(map(_enclosed, self.segmentation))

    @property
    def extent(self) -> tuple[float, float, float, float] | None:
        """Return left, top, right and bottom of its polygons; None where there are none."""
        if isinstance(self.segmentation, dict) or not self.segmentation:
            return None
        xs, ys = (
            [n for polygon in self.segmentation for n in polygon[first::2]] for first in (0, 1)
        )
        return min(xs), min(ys), max(xs), max(ys)


def drawable(segmentation: Any, width: int, height: int) -> Mask:
    """Return the part of a segmentation that can be drawn into an image.

    Args:
        segmentation: None, polygons (lists of x, y, x, y, ... in pixels), or run lengths (`size`,
            `counts`).
        width: pixels of the image.
        height: pixels of the image.
    """
    if isinstance(segmentation, dict):
        return _runs(segmentation, width, height)
    problems = [_problem(polygon, width, height) for polygon in segmentation or ()]
    kept = [
        polygon
        for polygon, problem in zip(segmentation or (), problems, strict=True)
        if problem is None
    ]

    if sum(map(_outline, kept)) > LONGEST:
        return Mask([], ("outline_too_long", f"more than {LONGEST:,} pixels"))
    return Mask(kept, next((problem for problem in problems if problem is not None), None))


def lengths_of(counts: str) -> list[int] | None:
    """Return the run lengths that COCO's compressed form holds, or None where the text is not of
    that form.

    Each number takes characters of six bits, lowest first: five of the number and one that says
    that more follow; from the fourth number on, what is stored is the difference to the number
    before the last.
    """
    runs: list[int] = []
    value = shift = 0

    for letter in counts:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0

    return None if shift else runs


def _runs(segmentation: dict[str, Any], width: int, height: int) -> Mask:
    """Return run lengths that are of this image's size and cover it exactly."""
    size = segmentation["size"]
    counts = segmentation["counts"]
    if size != [height, width]:
        swapped = ", which is [width, height]" if size == [width, height] else ""
        return Mask(
            [], ("bad_rle", f"size {str(size)[:60]}{swapped}; the image has [{height}, {width}]")
        )

    if isinstance(counts, str):
        counts = _plain(counts)
        runs = lengths_of(counts) or []
    else:
        runs = counts

    if not runs or min(runs) < 0 or sum(runs) != width * height:
        return Mask([], ("bad_rle", "the run lengths do not fill the image"))
    return Mask({"size": size, "counts": counts})


def _plain(counts: str) -> str:
    """Return compressed run lengths without Python's marks of bytes, which some exports leave:
    `b'...'`.
    """
    if counts[:2] not in ("b'", 'b"'):
        return counts
    try:
        return str(ast.literal_eval(counts).decode("ascii"))
    except (ValueError, SyntaxError, AttributeError, MemoryError, RecursionError):
        return counts


def _problem(polygon: Sequence[float], width: int, height: int) -> tuple[str, str] | None:
    """Return why a polygon encloses nothing that can be drawn, or None."""
    if len(polygon) < 6 or len(polygon) % 2:
        return "degenerate_polygon", f"{len(polygon)} numbers, three points have 6"
    if not all(map(float("inf").__gt__, map(abs, polygon))):
        # false for NaN too; 60 million numbers in COCO
        return "not_finite", "a polygon"

    xs = polygon[0::2]
    ys = polygon[1::2]
    left = min(xs)
    right = max(xs)
    top = min(ys)
    bottom = max(ys)

    if max(right, bottom, -left, -top) > FARTHEST:
        return "polygon_far_outside", f"reaches beyond {FARTHEST:,} pixels"
    if right < -1 or bottom < -1 or left > width + 1 or top > height + 1:
        return "polygon_far_outside", "all of it"
    if min(left, top) >= 0 and max(right, bottom) <= 1 < max(width, height):
        return "looks_like_fractions", "a polygon within the first pixel"
    return None


def _outline(polygon: Sequence[float]) -> float:
    """Return an upper bound of a polygon's length, the exact one where that may be too long."""
    xs = polygon[0::2]
    ys = polygon[1::2]
    bound = len(xs) * max(max(xs) - min(xs), max(ys) - min(ys))
    if bound <= LONGEST:
        return bound
    points = np.array([xs, ys], dtype=np.float64)
    return float(np.abs(points - np.roll(points, 1, axis=1)).max(axis=0).sum())


def _enclosed(polygon: Sequence[float]) -> float:
    """Return the area that a polygon encloses, by the shoelace formula."""
    x, y = np.array(polygon, dtype=np.float64).reshape(-1, 2).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def run_lengths(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Return compressed run lengths of a segmentation in any of COCO's three forms; several
    polygons are united.
    """
    from pycocotools import mask

    encoded: dict[str, Any]
    if isinstance(segmentation, list):
        encoded = mask.merge(mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        encoded = mask.frPyObjects(segmentation, *size)
    else:
        encoded = segmentation
    return encoded


def compressed(segmentation: Any, size: tuple[int, int]) -> bytes:
    """Return compressed run lengths of a segmentation of an image of `size` (height, width); of
    none, nothing.
    """
    if not segmentation:
        return b""
    counts = run_lengths(segmentation, size)["counts"]
    return counts if isinstance(counts, bytes) else str(counts).encode()
