"""Colours tell classes apart, and lines of text fit where they stand."""

import numpy as np
import pytest

from pipeline.pictures import paint


def test_each_class_has_a_colour_of_its_own() -> None:
    colours = [paint.class_colour(label) for label in range(255)]
    assert len(set(colours)) == 255
    assert all(0 <= part <= 255 for colour in colours for part in colour)


def test_text_on_a_colour_can_be_read() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:  # WCAG 2
        part = np.array(colour) / 255
        return float(
            np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
        )

    for label in range(255):
        colour = paint.class_colour(label)
        dark, light = sorted((luminance(colour), luminance(paint.ink_on(colour))))
        assert (light + 0.05) / (dark + 0.05) > 3


@pytest.mark.parametrize("width", [20, 60, 400])
def test_a_line_is_shortened_to_what_fits(width: int) -> None:
    text = "building, edifice, skyscraper"
    short = paint.shortened(text, width)
    assert paint.text_width(short) <= width
    assert (short == text) == (width == 400)
    assert short == text or short.endswith("…")


def test_small_images_grow_and_large_ones_shrink() -> None:
    assert paint.size_within(128, 128, 400) == (400, 400)
    assert paint.size_within(480, 640, 400) == (400, 300)
    assert paint.size_within(2000, 3, 400) == (1, 400)
