"""Names on their colours, each at its box, none hiding another and none cut off by the edge."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from pipeline.pictures import paint
from pipeline.pictures.paint import Colour

HEIGHT = 17
POINTS = 12
PADDING = 4
Rectangle = tuple[int, int, int, int]


class Caption(NamedTuple):
    """What is to be written at a box: `text` may be shortened, `tail` is not."""

    text: str
    tail: str
    colour: Colour
    box: Rectangle


class Chip(NamedTuple):
    """Text and where it stands: left, top, right, bottom in pixels, right and bottom outside."""

    text: str
    colour: Colour
    place: Rectangle


def placed(names: Sequence[Caption], size: tuple[int, int]) -> list[Chip]:
    """Return the chips of names in their order; a name for which there is no room is left out.

    Args:
        names: the most important first.
        size: width and height of the picture.
    """
    chips: list[Chip] = []
    for name in names:
        room = size[0] - 2 * PADDING - paint.text_width(name.tail, POINTS)
        text = paint.shortened(name.text, room, POINTS) + name.tail
        place = _place(paint.text_width(text, POINTS) + 2 * PADDING, name.box, size, chips)
        if place is not None:
            chips.append(Chip(text, name.colour, place))

    return chips


def write(picture: Image.Image, chip: Chip) -> None:
    """Draw a chip."""
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = chip.place
    pen.rectangle((left, top, right - 1, bottom - 1), fill=chip.colour)
    pen.text(
        (left + PADDING, top + 1),
        chip.text,
        fill=paint.ink_on(chip.colour),
        font=paint.font(POINTS),
    )


def _place(
    width: int, box: Rectangle, size: tuple[int, int], taken: Sequence[Chip]
) -> Rectangle | None:
    """Return the first free place at a box: above, inside at the top, inside at the bottom,
    below.
    """
    left, top, right, bottom = box
    if width > size[0] or size[1] < HEIGHT:
        return None

    for y in (top - HEIGHT, top + 1, bottom - HEIGHT, bottom + 1):
        for x in (left, right - width):
            x = min(max(x, 0), size[0] - width)
            y = min(max(y, 0), size[1] - HEIGHT)
            place = (x, y, x + width, y + HEIGHT)
            if not any(_meet(place, chip.place) for chip in taken):
                return place
    return None


def _meet(first: Rectangle, second: Rectangle) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )
