"""Images, boxes and masks arrive at the same place, whatever the steps."""

import io

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from pipeline.tasks.dense.geometry import Geometry, corner, fitted, pixels, stacked

Steps = list[tuple[str, tuple[int, ...]]]


@st.composite
def journeys(draw: st.DrawFn) -> tuple[tuple[int, int], Steps]:
    """Draw a source size and a few steps from it."""
    source = size = draw(st.tuples(st.integers(20, 90), st.integers(20, 90)))
    steps: Steps = []
    for kind in draw(st.lists(st.sampled_from(["flip", "resize", "crop"]), max_size=4)):
        if kind == "resize":
            size = draw(st.tuples(st.integers(15, 120), st.integers(15, 120)))
            steps.append(("resize", size))
        elif kind == "crop":
            height, width = (draw(st.integers(max(1, side // 2), side)) for side in size)
            top, left = (
                draw(st.integers(0, size[0] - height)),
                draw(st.integers(0, size[1] - width)),
            )
            size = (height, width)
            steps.append(("crop", (top, left, height, width)))
        else:
            steps.append(("flip", ()))
    return source, steps


def travel(source: tuple[int, int], steps: Steps) -> Geometry:
    geometry = Geometry(*source)
    for kind, numbers in steps:
        if kind == "resize":
            geometry.resize((numbers[0], numbers[1]))
        elif kind == "crop":
            geometry.crop(numbers[0], numbers[1], (numbers[2], numbers[3]))
        else:
            geometry.flip()
    return geometry


def extent(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def blur(source: tuple[int, int], steps: Steps) -> float:
    """Return how far an edge can be off: a pixel at each resize, stretched by those after it."""
    size, error = source, 0.0
    for kind, numbers in steps:
        if kind == "resize":
            stretch = max(new / old for new, old in zip(numbers, size, strict=True))
            error = max(1.0, stretch) * error + 1
            size = (numbers[0], numbers[1])
        elif kind == "crop":
            size = (numbers[2], numbers[3])
    return error


@settings(deadline=None, max_examples=150)
@given(journeys(), st.data())
def test_an_objects_box_is_the_box_of_its_mask_and_of_its_pixels(
    journey: tuple[tuple[int, int], Steps], data: st.DataObject
) -> None:
    (height, width), steps = journey
    top, left = data.draw(st.integers(0, height - 10)), data.draw(st.integers(0, width - 10))
    bottom, right = data.draw(st.integers(top + 8, height)), data.draw(st.integers(left + 8, width))
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[top:bottom, left:right] = 1
    geometry = travel((height, width), steps)
    box = geometry.boxes(torch.tensor([[left, top, right, bottom]], dtype=torch.float32))[0].numpy()
    moved = geometry.mask(mask)
    assert moved.shape == geometry.size
    error = blur((height, width), steps) + 1e-3
    if box[2] - box[0] > 2 * error and box[3] - box[1] > 2 * error:
        assert np.abs(extent(moved) - box).max() <= error
        image = torch.from_numpy(255 * np.repeat(mask[..., None], 3, axis=2)).permute(2, 0, 1)
        bright = geometry.image(image).numpy().min(axis=0) > 127
        assert bright.shape == moved.shape and np.abs(extent(bright) - box).max() <= error
    else:
        assert not moved.any() or np.abs(extent(moved) - box).max() <= 2 * error


@settings(deadline=None)
@given(journeys())
def test_a_mask_moves_as_through_torchvision_step_by_step(
    journey: tuple[tuple[int, int], Steps],
) -> None:
    source, steps = journey
    size = source
    rows = tv_tensors.Mask(torch.arange(source[0])[:, None].expand(source).clone())
    columns = tv_tensors.Mask(torch.arange(source[1])[None].expand(source).clone())
    for kind, n in steps:
        if kind == "resize":
            assume(all(map(agree, size, n)))
            rows, columns, size = F.resize(rows, list(n)), F.resize(columns, list(n)), (n[0], n[1])
        elif kind == "crop":
            rows, columns, size = F.crop(rows, *n), F.crop(columns, *n), (n[2], n[3])
        else:
            rows, columns = F.horizontal_flip(rows), F.horizontal_flip(columns)
    geometry = travel(source, steps)
    assert geometry.size == size
    assert np.array_equal(rows[:, 0].numpy(), geometry.rows)
    assert np.array_equal(columns[0].numpy(), geometry.columns)


def agree(old: int, new: int) -> bool:
    """Say whether torchvision, in single precision, finds the source pixels of a side as whole
    numbers give them.
    """
    found = F.resize(torch.arange(old)[None, :, None].float(), [new, 1], interpolation=0)[
        0, :, 0
    ].numpy()
    return np.array_equal(found, np.arange(new) * old // new)  # 99 of 100 pairs up to 120 do


def test_a_resize_takes_the_source_pixel_that_nearest_means() -> None:
    for old in range(1, 40):
        for new in range(1, 40):
            geometry = Geometry(old, 1)
            geometry.resize((new, 1))
            expected = F.resize(
                torch.arange(old)[None, :, None].float(), [new, 1], interpolation=0
            )[0, :, 0].numpy()
            exact = (
                np.arange(new) * old % new != 0
            )  # elsewhere torchvision's single precision may round down
            assert np.array_equal(geometry.rows[exact], expected[exact])
            assert geometry.rows.tolist() == [
                int(np.floor(i * old / new + 1e-9)) for i in range(new)
            ]


def test_two_flips_change_nothing() -> None:
    geometry = Geometry(30, 40)
    geometry.flip()
    geometry.flip()
    image = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    ).permute(2, 0, 1)
    boxes = torch.tensor([[1.5, 2.0, 30.0, 20.25]])
    assert torch.equal(geometry.image(image), image)
    assert torch.equal(geometry.boxes(boxes), boxes)
    assert np.array_equal(geometry.mask(image[0].numpy()), image[0].numpy())
    once = Geometry(30, 40)
    once.flip()
    assert once.boxes(boxes).tolist() == [[10.0, 2.0, 38.5, 20.25]]
    assert torch.equal(once.image(image), image.flip(-1))
    assert np.array_equal(once.mask(image[0].numpy()), image[0].flip(-1).numpy())


def test_boxes_end_at_the_edge() -> None:
    geometry = Geometry(30, 40)
    geometry.resize((60, 80))
    boxes = torch.tensor([[-3.0, -2.0, 45.0, 31.0], [10.0, 5.0, 20.0, 15.0]])
    assert geometry.boxes(boxes).tolist() == [[0, 0, 80, 60], [20, 10, 40, 30]]
    geometry.crop(20, 30, (40, 50))
    geometry.resize((20, 25))
    assert geometry.boxes(boxes).tolist() == [[0, 0, 25, 20], [0, 0, 5, 5]]


def test_bilinear_takes_no_average_over_more_than_its_neighbours() -> None:
    """Shrunk by four, a checkerboard stays one of full contrast or of none: nothing is filtered, as
    in mmcv.
    """
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    geometry = Geometry(64, 64)
    geometry.resize((13, 13))
    image = geometry.image(
        torch.from_numpy(np.repeat(board[..., None], 3, axis=2).astype(np.uint8)).permute(2, 0, 1)
    )
    assert int(image.max()) - int(image.min()) > 200


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [
        ((480, 640), (800, 1333), (800, 1067)),  # the short side decides; 1066.67 rounds up
        ((426, 640), (800, 1333), (800, 1202)),
        ((300, 640), (800, 1333), (625, 1333)),  # the long side decides
        ((640, 300), (1333, 800), (1333, 625)),  # sides in any order
        ((512, 683), (2048, 512), (512, 683)),
        ((50, 5000), (800, 1333), (13, 1333)),
        ((1, 5000), (2048, 512), (1, 2048)),  # never nothing
    ],
)
def test_fitting_keeps_the_shape(
    size: tuple[int, int], sides: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert fitted(size, sides) == expected


def test_corners_reach_every_place_and_none_outside() -> None:
    draw = np.random.default_rng(0)
    assert {corner((5, 4), (3, 4), draw) for _ in range(200)} == {(0, 0), (1, 0), (2, 0)}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_three_channels_of_a_jpeg(mode: str) -> None:
    data = io.BytesIO()
    Image.new(mode, (7, 5), 0 if mode == "L" else tuple([0] * len(mode))).save(data, "JPEG")
    image = pixels(data.getvalue())
    assert image.shape == (3, 5, 7) and image.dtype == torch.uint8 and image.stride() == (1, 21, 3)


def test_stacking_pads_right_and_below() -> None:
    images = [
        torch.full((3, 5, 9), 7, dtype=torch.uint8),
        torch.full((3, 8, 2), 9, dtype=torch.uint8),
    ]
    batch, sizes = stacked(images, multiple=4)
    assert batch.shape == (2, 3, 8, 12) and batch.is_contiguous(memory_format=torch.channels_last)
    assert sizes == [(5, 9), (8, 2)]
    for row, image, (height, width) in zip(batch, images, sizes, strict=True):
        assert torch.equal(row[:, :height, :width], image)
        assert int(row.sum()) == int(image.sum())
    assert stacked(images, least=(20, 3))[0].shape == (2, 3, 20, 9)
