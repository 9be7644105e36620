"""An image, its labels and what was predicted, over the names of the classes that are there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.pictures import legend, paint
from pipeline.pictures.legend import LegendEntry
from pipeline.pictures.paint import Pixels

IGNORED = 255
COVER = 0.65
LEAST_SIDE = 320
"""Pixels of a panel's longer side, at least."""
Labels = NDArray[Any]


def draw(
    image: Pixels, truth: Labels, predicted: Labels, classes: Sequence[str], side: int = 320
) -> Image.Image:
    """Return the image, ground truth and prediction from left to right, and under them what the
    colours mean.

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W), class indices; 255, where nothing is said, is hatched.
        predicted: (H, W), class indices.
        classes: names by label.
        side: pixels of a panel's longer side; smaller images are enlarged.
    """
    photograph = paint.resized(image, paint.size_within(truth.shape[0], truth.shape[1], side))
    counted = truth != IGNORED
    right = (
        f": {np.mean(predicted[counted] == truth[counted]):.0%} of pixels right"
        if counted.any()
        else ""
    )

    panels = [
        paint.headed(photograph, "image"),
        paint.headed(_overlay(photograph, truth), "ground truth"),
        paint.headed(_overlay(photograph, predicted), f"predicted{right}"),
    ]

    entries = legend.entries(np.concatenate([truth[counted], predicted.ravel()]), classes)
    unlabelled = [] if counted.all() else [LegendEntry(None, "not labelled")]
    return legend.under(paint.side_by_side(panels), [*entries, *unlabelled])


def draw_predicted(image: Pixels, predicted: Labels, classes: Sequence[str]) -> Image.Image:
    """Return an image beside its predicted classes, over what the colours mean.

    Args:
        image: (H, W, 3) uint8; a small one is enlarged.
        predicted: class indices, of the same shape at any size.
        classes: names by label.
    """
    height, width = image.shape[:2]
    side = max(LEAST_SIDE, height, width)
    photograph = paint.resized(image, paint.size_within(height, width, side))
    panels = [Image.fromarray(photograph), Image.fromarray(_overlay(photograph, predicted))]
    return legend.under(paint.side_by_side(panels), legend.entries(predicted, classes))


def _overlay(photograph: Pixels, labels: Labels) -> Pixels:
    """Return a pale grey photograph in the colours of its labels, with white lines between
    regions.
    """
    height, width = photograph.shape[:2]
    grey = 90 + 0.65 * (photograph @ np.array([0.299, 0.587, 0.114]))
    canvas = np.repeat(np.round(grey).astype(np.uint8)[..., None], 3, axis=2)
    resized = np.asarray(
        Image.fromarray(labels.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    )

    for label in np.unique(resized).tolist():
        where = resized == label
        if label == IGNORED:
            paint.blend(canvas, where, legend.GREY, COVER)
            paint.blend(canvas, where & paint.hatching(where.shape), paint.PAPER, 0.8)
        else:
            paint.blend(canvas, where, paint.class_colour(label), COVER)

    between = np.zeros(resized.shape, dtype=bool)
    between[1:] |= resized[1:] != resized[:-1]
    between[:, 1:] |= resized[:, 1:] != resized[:, :-1]
    paint.blend(canvas, between, paint.PAPER, 0.85)
    return canvas
