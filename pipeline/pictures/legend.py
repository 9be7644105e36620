"""What the colours of a picture mean: a swatch and a name for each class that is in it, and for no
other.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.pictures import paint
from pipeline.pictures.paint import Colour

SWATCH = 12
ROW = 19
GAP = 18
GREY: Colour = (150, 150, 150)


class LegendEntry(NamedTuple):
    """One class; `label` is None for what nobody labelled, which is hatched."""

    label: int | None
    name: str


def entries(labels: NDArray[Any], classes: Sequence[str]) -> list[LegendEntry]:
    """Return the classes among labels of any shape, the most frequent first."""
    present, counts = np.unique(labels, return_counts=True)
    return [
        LegendEntry(label, classes[label])
        for label in present[np.argsort(-counts, kind="stable")].tolist()
    ]


def under(picture: Image.Image, shown: Sequence[LegendEntry]) -> Image.Image:
    """Return a picture over swatches and names, in as many rows as they need."""
    places = []
    left = paint.MARGIN
    row = 0
    for entry in shown:
        name = paint.shortened(entry.name, picture.width - SWATCH - GAP)
        wide = SWATCH + 5 + paint.text_width(name)
        if left > paint.MARGIN and left + wide > picture.width:
            left = paint.MARGIN
            row = row + 1
        places.append((entry, name, left, picture.height + row * ROW))
        left += wide + GAP

    height = (row + 1) * ROW + paint.MARGIN if places else 0
    canvas = Image.new("RGB", (picture.width, picture.height + height), paint.PAPER)
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)

    for entry, name, x, y in places:
        canvas.paste(_swatch(entry), (x, y + 2))
        pen.text((x + SWATCH + 5, y), name, fill=paint.INK, font=paint.font())
    return canvas


def _swatch(entry: LegendEntry) -> Image.Image:
    canvas = np.full((SWATCH, SWATCH, 3), GREY, dtype=np.uint8)
    if entry.label is None:
        paint.blend(canvas, paint.hatching(canvas.shape), paint.PAPER, 0.8)
    else:
        canvas[:] = paint.class_colour(entry.label)
    return Image.fromarray(canvas)
