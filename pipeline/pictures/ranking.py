"""A picture over the classes that it may be of, each with a bar as long as it is likely."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.pictures import paint

ROW = 20
NUMBER = 52
LEAST_WIDTH = 240


def draw(picture: Image.Image, ranked: Sequence[tuple[str, float]]) -> Image.Image:
    """Return a picture over names and shares, the likeliest first.

    Args:
        picture: RGB.
        ranked: names with their shares, from 0 to 1.
    """
    width = max(picture.width, LEAST_WIDTH)
    height = picture.height + len(ranked) * ROW + paint.MARGIN
    canvas = Image.new("RGB", (width, height), paint.PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))

    pen = ImageDraw.Draw(canvas)
    for number, (name, share) in enumerate(ranked):
        top = picture.height + paint.MARGIN + number * ROW
        bar = round(share * (width - NUMBER))
        pen.rectangle((0, top, bar, top + ROW - 3), fill=BAR)
        pen.text((4, top), paint.shortened(name, width - NUMBER - 8), paint.INK, paint.font())
        text = f"{share:.1%}"
        pen.text((width - paint.text_width(text) - 4, top), text, paint.INK, paint.font())

    return canvas


BAR: paint.Colour = (173, 216, 230)
