"""Any image that a camera writes is read as a person sees it; what is none is one sentence."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from photographs import UNREADABLE, scene
from PIL import Image

from pipeline.prediction.reading import UnreadableError, read_picture


def near(picture: Image.Image, expected: Image.Image, most: int = 12) -> bool:
    difference = np.abs(np.asarray(picture).astype(int) - np.asarray(expected.convert("RGB")))
    return picture.size == expected.size and bool(np.median(difference) <= most)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "jpg"),
        ("CMYK", "jpg"),
        ("YCbCr", "tif"),
        ("L", "png"),
        ("LA", "png"),
        ("P", "gif"),
        ("RGBA", "webp"),
        ("1", "bmp"),
        ("RGB", "ppm"),
        ("RGB", "jp2"),
    ],
)
def test_every_mode_and_format_is_read(mode: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{suffix}"
    scene().convert(mode).save(path)
    picture = read_picture(path)
    assert picture.mode == "RGB"
    grey = mode in ("L", "LA", "1")
    assert near(picture, scene().convert("L") if grey else scene(), 255 if mode == "1" else 12)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.asarray(scene().convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    assert near(read_picture(tmp_path / "deep.png"), scene().convert("L"), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_was_held(orientation: int, tmp_path: Path) -> None:
    """Stored turned, with the tag that says so, it is read as the scene was."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene() if orientation == 1 else scene().transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert near(read_picture(tmp_path / "turned.jpg"), scene(), 3)


def test_a_broken_exif_block_leaves_the_picture_as_it_is_stored(tmp_path: Path) -> None:
    scene().save(tmp_path / "p.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=95)
    assert near(read_picture(tmp_path / "p.jpg"), scene(), 3)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_used_is_one_sentence(name: str, tmp_path: Path) -> None:
    content, words = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableError, match=words) as error:
        read_picture(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableError, match="it is no file"):
        read_picture(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableError, match="it is not there"):
        read_picture(tmp_path / "none.jpg")


def test_no_bytes_raise_anything_else(tmp_path: Path) -> None:
    """Cut and garbled pictures end in a picture or in a sentence."""
    draw = np.random.default_rng(0)
    path = tmp_path / "garbled"
    sources = []
    for suffix in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"):
        data = io.BytesIO()
        scene().save(data, suffix)
        sources.append(data.getvalue())
    for number in range(300):
        content = bytearray(sources[number % len(sources)])
        for place in draw.integers(len(content), size=4):
            content[place] = draw.integers(256)
        path.write_bytes(bytes(content[: draw.integers(1, len(content) + 1)]))
        try:
            assert read_picture(path).mode == "RGB"
        except UnreadableError as error:
            assert "\n" not in str(error)
