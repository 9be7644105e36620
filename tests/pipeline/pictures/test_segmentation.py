"""The image, its labels and the prediction stand side by side over the names of exactly the classes
in them.
"""

import numpy as np
import pytest

from pipeline.pictures import legend, paint, segmentation
from pipeline.pictures.segmentation import IGNORED

NAMES = [f"class {i}" for i in range(150)]
HEAD, MARGIN = 22, paint.MARGIN


def halves(left: int, right: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    labels = np.full(size, left, dtype=np.uint8)
    labels[:, size[1] // 2 :] = right
    return labels


def parts(truth: np.ndarray, predicted: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the three panels without their headings, and the legend."""
    image = np.full((*truth.shape, 3), 120, dtype=np.uint8)
    picture = np.asarray(segmentation.draw(image, truth, predicted, NAMES))
    width, height = paint.size_within(truth.shape[0], truth.shape[1], 320)
    assert picture.shape[1] == 3 * width + 4 * MARGIN
    top = HEAD + MARGIN
    lefts = [MARGIN + i * (width + MARGIN) for i in range(3)]
    return [picture[top : top + height, x : x + width] for x in lefts], picture[
        top + height + MARGIN :
    ]


def named(shown: np.ndarray) -> set[int | None]:
    """Return what a legend has swatches of."""
    there = {tuple(colour) for colour in shown.reshape(-1, 3).tolist()}
    classes = {label for label in range(len(NAMES)) if paint.class_colour(label) in there}
    return classes | ({None} if legend.GREY in there else set())


@pytest.mark.parametrize("size", [(128, 128), (683, 512), (300, 1200)])
def test_panels_keep_the_shape_of_the_image(size: tuple[int, int]) -> None:
    panels, _ = parts(halves(1, 2, size), halves(1, 2, size))
    assert max(panels[0].shape[:2]) == 320
    assert panels[0].shape[0] / panels[0].shape[1] == pytest.approx(size[0] / size[1], rel=0.01)


def test_labels_stand_left_of_the_prediction() -> None:
    panels, _ = parts(halves(3, 7), halves(7, 3))
    image, truth, predicted = panels
    assert (image == 120).all()
    width = truth.shape[1]
    here, there = np.s_[:, 5 : width // 2 - 5], np.s_[:, width // 2 + 5 : -5]
    assert (truth[here] == predicted[there]).all() and (truth[there] == predicted[here]).all()
    assert (truth[here] != truth[there]).any()


def test_the_legend_names_exactly_what_is_there() -> None:
    assert named(parts(halves(3, 7), halves(3, 9))[1]) == {3, 7, 9}
    assert named(parts(halves(3, IGNORED), halves(3, 140))[1]) == {3, 140, None}
    assert named(parts(halves(IGNORED, IGNORED), halves(2, 2))[1]) == {2, None}
    shown = legend.entries(np.array([5, 5, 5, 1, 8, 8]), NAMES)
    assert [entry.name for entry in shown] == ["class 5", "class 8", "class 1"]


def test_every_class_of_a_full_picture_has_its_name_inside() -> None:
    every = np.arange(150, dtype=np.uint8).reshape(10, 15).repeat(8, axis=0).repeat(8, axis=1)
    _, shown = parts(every, every)
    assert named(shown) == set(range(150))
    assert (shown[:, -2:] == 255).all() and (shown[-2:] == 255).all()  # nothing runs over the edge


def test_what_nobody_labelled_is_hatched() -> None:
    truth = parts(halves(3, IGNORED), halves(3, 3))[0][1]
    width = truth.shape[1]
    plain, hatched = truth[:, 5 : width // 2 - 5], truth[:, width // 2 + 5 : -5]
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(hatched.reshape(-1, 3), axis=0)) == 2
    assert (hatched == hatched[..., :1]).all()  # grey


def test_a_class_looks_the_same_in_every_picture() -> None:
    one, other = parts(halves(3, 7), halves(3, 7))[0][1], parts(halves(100, 3), halves(1, 2))[0][1]
    assert (one[5:50, 5:50] == other[5:50, -50:-5]).all()
