"""Tiles, and the sheet that they make."""

import textwrap
from typing import Any, cast

from PIL import Image, ImageDraw


def tile(pixels: Any, text: str, colour: str, side: int = 128) -> Image.Image:
    """Return an image, (H, W, 3) uint8, made square, over a few lines of coloured text."""
    tile = Image.new("RGB", (side + 8, side + 64), "white")
    tile.paste(
        Image.fromarray(cast(Any, pixels)).resize((side, side), Image.Resampling.BICUBIC), (4, 4)
    )
    lines = "\n".join(textwrap.wrap(text, 24, max_lines=4))
    ImageDraw.Draw(tile).multiline_text((4, side + 6), lines, fill=colour, spacing=1, font_size=11)
    return tile


def sheet(tiles: list[Image.Image], columns: int) -> Image.Image:
    """Return tiles in rows on white; a column is as wide as the widest tile, a row as high as its
    highest.
    """
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    width = max(tile.width for tile in tiles)
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (width * len(rows[0]), sum(heights)), "white")

    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (width * column, sum(heights[:number])))
    return sheet
