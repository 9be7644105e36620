"""COCO's segmentations as pixels: polygons, run lengths, compressed run lengths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.coco.segmentations import run_lengths
from pipeline.tasks.dense.geometry import Geometry, Mask, pick


@dataclass(frozen=True)
class Patch:
    """The part of a mask that is not empty: its place in the whole, and its pixels, 0 or 1.

    An object fills a few percent of an image; what is around it costs nothing until masks are put
    into a batch.
    """

    top: int
    left: int
    pixels: Mask

    def paste(self, mask: Mask) -> None:
        """Put the part in its place in an empty mask."""
        height, width = self.pixels.shape
        mask[self.top : self.top + height, self.left : self.left + width] = self.pixels


def patch_of(segmentation: Any, geometry: Geometry) -> Patch:
    """Draw a segmentation at the size of its image and take it through the steps of `geometry`, as
    the image is: polygons take the way that run lengths take.

    That of an object without a mask, an empty list, is an empty patch.
    """
    from pycocotools import mask

    if not segmentation:
        return Patch(0, 0, np.zeros((0, 0), dtype=np.uint8))

    runs = run_lengths(segmentation, geometry.source)
    left, top, width, height = mask.toBbox(runs)
    rows = _within(geometry.rows, top, top + height)
    columns = _within(geometry.columns, left, left + width)

    part = pick(mask.decode(runs), geometry.rows[rows], geometry.columns[columns])
    return Patch(rows.start, columns.start, part)


def _within(sources: NDArray[np.intp], low: float, high: float) -> slice:
    """Return the run of places whose source lies from `low` to before `high`; sources rise or fall
    throughout.
    """
    places = np.flatnonzero((sources >= low) & (sources < high))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
