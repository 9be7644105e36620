"""Photometric distortion does what its words say, each part half of the time."""

import colorsys

import numpy as np
import pytest
from PIL import Image

from pipeline.tasks.segment.photometric import distort


def expected(colour: tuple[int, int, int], draw: np.random.Generator) -> np.ndarray:
    """The same draws on one colour, in exact arithmetic and the standard library's HSV."""
    brightness, contrast, early, saturation, hue = draw.random(5) < 0.5
    shift, scale, saturate = (draw.uniform(-end, end) for end in (32, 0.5, 0.5))
    turn = (
        draw.integers(-18, 18) / 180
    )  # whole steps of OpenCV's circle of 180, the upper end left out
    scale, saturate = 1 + scale, 1 + saturate
    values = np.array(colour, dtype=float)
    if brightness:
        values = (values + shift).clip(0, 255)
    if contrast and early:
        values = (values * scale).clip(0, 255)
    h, s, v = colorsys.rgb_to_hsv(*values / 255)
    h, s = (h + turn) % 1 if hue else h, min(1, s * saturate) if saturation else s
    values = 255 * np.array(colorsys.hsv_to_rgb(h, s, v))
    return (values * scale).clip(0, 255) if contrast and not early else values


@pytest.mark.parametrize("colour", [(200, 40, 90), (60, 70, 65), (10, 250, 240), (128, 128, 128)])
def test_every_combination_is_that_of_exact_arithmetic(colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (2, 2), colour)
    for seed in range(150):
        found = np.asarray(distort(image, np.random.default_rng(seed)))[0, 0]
        assert (
            np.abs(found - expected(colour, np.random.default_rng(seed))).max() <= 10
        )  # hue has 8 bits


def test_one_image_in_sixteen_stays_as_it_is() -> None:
    image = Image.new("RGB", (2, 2), (150, 60, 90))
    same = sum(
        distort(image, np.random.default_rng(seed)).tobytes() == image.tobytes()
        for seed in range(2000)
    )
    assert same / 2000 == pytest.approx(1 / 16, abs=0.02)
