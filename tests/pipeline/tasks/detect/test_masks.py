"""One object in COCO's three forms is one mask, and a patch is the mask without what is empty."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from pipeline.datasets.coco.segmentations import run_lengths
from pipeline.tasks.dense.geometry import Geometry
from pipeline.tasks.detect.masks import patch_of

SIZE = 60, 80
POLYGONS = [
    [10.2, 8.0, 40.7, 12.3, 35.0, 50.9, 12.0, 44.4],
    [60.0, 5.0, 75.5, 5.0, 75.5, 20.0, 60.0, 20.0],
]


def forms() -> dict[str, Any]:
    compressed = run_lengths(POLYGONS, SIZE)
    column = coco.decode(compressed).T.reshape(-1)
    edges = np.flatnonzero(np.diff(column)) + 1
    counts = np.diff([0, *edges, len(column)]).tolist()
    return {
        "polygons": POLYGONS,
        "counts": {"size": list(SIZE), "counts": counts},
        "text": {"size": list(SIZE), "counts": compressed["counts"].decode()},
    }


def whole(segmentation: Any, geometry: Geometry) -> np.ndarray:
    mask = np.zeros(geometry.size, dtype=np.uint8)
    patch_of(segmentation, geometry).paste(mask)
    return mask


def geometry() -> Geometry:
    way = Geometry(*SIZE)
    way.flip()
    way.resize((90, 100))
    way.crop(5, 10, (70, 80))
    way.resize((131, 64))
    return way


@pytest.mark.parametrize("form", ["polygons", "counts", "text"])
def test_every_form_is_the_same_mask(form: str) -> None:
    drawn = Image.new("L", (SIZE[1], SIZE[0]))
    for polygon in POLYGONS:
        ImageDraw.Draw(drawn).polygon(polygon, fill=1)
    plain = whole(forms()[form], Geometry(*SIZE))
    assert (
        np.mean(plain != np.asarray(drawn)) < 0.03
    )  # another rasteriser, which counts the outline in
    assert np.array_equal(whole(forms()[form], geometry()), geometry().mask(plain))


def test_a_patch_holds_nothing_but_the_object() -> None:
    patch = patch_of(POLYGONS[1:], geometry())
    assert (
        patch.pixels[0].any()
        and patch.pixels[-1].any()
        and patch.pixels[:, 0].any()
        and patch.pixels[:, -1].any()
    )
    assert patch.pixels.size < 0.3 * np.prod(geometry().size)


def test_what_a_crop_leaves_out_is_empty() -> None:
    way = Geometry(*SIZE)
    way.crop(52, 0, (8, 80))
    assert patch_of(POLYGONS, way).pixels.size == 0 and not whole(POLYGONS, way).any()
    assert not whole([[-9.0, -9.0, -3.0, -9.0, -3.0, -3.0]], Geometry(*SIZE)).any()
