"""A sheet shows every tile whole."""

import numpy as np
from PIL import Image

from pipeline.pictures.sheet import sheet, tile


def test_tiles_of_any_size_are_shown_whole() -> None:
    sizes = [(30, 20), (50, 40), (10, 60), (20, 5), (45, 15)]
    tiles = [Image.new("RGB", size, (10 * i, 0, 100)) for i, size in enumerate(sizes)]
    pixels = np.asarray(sheet(tiles, columns=2))
    assert pixels.shape == (40 + 60 + 15, 2 * 50, 3)
    for number, (width, height) in enumerate(sizes):
        assert (pixels == (10 * number, 0, 100)).all(axis=-1).sum() == width * height


def test_a_tile_shows_its_image_over_its_text() -> None:
    image = np.full((32, 48, 3), (0, 0, 255), dtype=np.uint8)
    pixels = np.asarray(tile(image, "tree frog 98%", "#ff0000"))
    assert pixels.shape == (192, 136, 3)
    assert (pixels[4:132, 4:132] == (0, 0, 255)).all()
    below = pixels[132:]
    assert (below[..., 0] == 255).all() and (below[..., 1:] < 128).any()
