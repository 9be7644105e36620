"""Every kind of bad image ends where it should, by reason."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from pipeline.core.pixels.jpeg import decode
from pipeline.datasets.images import RefusedError, check, check_mask, rgb

LIMIT = 1_000_000


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def reason(data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(RefusedError) as caught:
        check("a.jpg", data, limit)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("kind", "name"), [("JPEG", "a.jpg"), ("JPEG", "a.png"), ("PNG", "a.png")])
def test_sound_images_keep_their_bytes(mode: str, kind: str, name: str) -> None:
    data = encoded(picture(mode), kind)
    checked = check(name, data, LIMIT)
    assert (checked.data, checked.width, checked.height, checked.repaired) == (data, 40, 30, None)


@pytest.mark.parametrize(
    ("name", "data", "repaired"),
    [
        ("a.JPEG", encoded(picture(), "PNG"), "format_mismatch"),
        ("a.png", encoded(picture("RGBA"), "PNG"), "mode_alpha"),
        ("a.png", encoded(picture("LA"), "PNG"), "mode_grey_alpha"),
        ("a.png", encoded(picture("P"), "PNG"), "mode_palette"),
        ("a.png", encoded(picture("1"), "PNG"), "mode_bilevel"),
    ],
)
def test_odd_pngs_keep_their_pixels(name: str, data: bytes, repaired: str) -> None:
    checked = check(name, data, LIMIT)
    image = Image.open(io.BytesIO(checked.data))
    assert (checked.repaired, image.format, image.mode, image.size) == (
        repaired,
        "PNG",
        "RGB",
        (40, 30),
    )
    assert (np.asarray(image) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()


def test_cmyk_becomes_a_jpeg_of_three_channels() -> None:
    checked = check("a.jpg", encoded(picture("CMYK"), "JPEG"), LIMIT)
    image = Image.open(io.BytesIO(checked.data))
    assert (checked.repaired, image.format, image.mode, image.size) == (
        "cmyk",
        "JPEG",
        "RGB",
        (40, 30),
    )


def test_a_side_too_long_for_jpeg() -> None:
    wide = encoded(Image.new("L", (66_000, 10)), "PNG")
    assert check("a.png", wide, LIMIT).data == wide
    with pytest.raises(RefusedError, match="66000x10"):
        check("a.png", encoded(Image.new("L", (72_600, 11)), "PNG"), LIMIT, short_side=10)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.full((16, 16), 32768, dtype=np.uint16))
    checked = check("a.png", encoded(deep, "PNG"), LIMIT)
    image = Image.open(io.BytesIO(checked.data))
    assert checked.repaired == "mode_16_bit"
    assert (np.asarray(image) == 128).all()
    every = Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256))
    assert (np.asarray(rgb(every))[..., 0].ravel() == np.round(np.arange(65536) / 257)).all()


def with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description too long for the table"
    return encoded(picture(), "JPEG", exif=exif.tobytes())


@pytest.mark.parametrize(("orientation", "notes"), [(1, ()), (6, ("exif_rotated",)), (9, ())])
def test_turned_images_are_noted_and_stay_as_stored(
    orientation: int, notes: tuple[str, ...]
) -> None:
    data = with_exif(orientation)
    checked = check("a.jpg", data, LIMIT)
    assert (checked.data, checked.width, checked.height) == (data, 40, 30)
    assert (checked.repaired, checked.notes) == (None, notes)


@pytest.mark.parametrize(
    ("at", "value"), [(6, b"XX"), (14, b"\xff\xff"), (22, b"\x7f\xff\xff\xff")]
)
def test_an_unreadable_exif_block_is_cut_out_and_no_pixel_changes(
    at: int, value: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    data = bytearray(with_exif(6))
    place = data.index(b"Exif\0\0") + at
    data[place : place + len(value)] = value
    checked = check("a.jpg", bytes(data), LIMIT)
    assert not recwarn.list
    assert (checked.repaired, checked.notes) == ("exif_bad", ())
    length = int.from_bytes(data[place - at - 2 : place - at], "big")
    assert checked.data == data[: place - at - 4] + data[place - at - 2 + length :]
    before, after = (
        np.asarray(Image.open(io.BytesIO(file))) for file in (bytes(data), checked.data)
    )
    assert (before == after).all()
    assert check("a.jpg", checked.data, LIMIT).repaired is None


def test_every_truncation_is_refused() -> None:
    data = encoded(picture(), "JPEG")
    reasons = {reason(data[:length]) for length in range(len(data) - 2)}
    assert reasons <= {"empty", "not_an_image", "damaged", "truncated"}
    assert reason(data[: len(data) // 2]) == "truncated"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_cut_png_is_refused() -> None:
    data = encoded(picture(), "PNG")
    assert reason(data[: len(data) // 2]) in ("truncated", "damaged")


def test_not_an_image() -> None:
    assert reason(b"") == "empty"
    assert reason(b"<html>404 not found</html>") == "not_an_image"
    assert reason(encoded(picture(), "GIF")) == "not_an_image"


def test_large_images_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(picture(), "JPEG")

    def decoded(self: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    assert reason(data, limit=40 * 30 - 1) == "too_many_pixels"


def test_shrinking_keeps_the_aspect() -> None:
    checked = check("a.jpg", encoded(picture(size=(80, 40)), "JPEG"), LIMIT, short_side=16)
    assert (checked.width, checked.height) == Image.open(io.BytesIO(checked.data)).size == (32, 16)
    small = encoded(picture(size=(80, 16)), "JPEG")
    assert check("a.jpg", small, LIMIT, short_side=16).data == small


def four_bit_grey() -> bytes:
    """Return a PNG of 2 x 1 pixels with the values 0 and 1 in four bits of grey; Pillow writes
    none.
    """

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0\1"))
        + chunk(b"IEND", b"")
    )


def mask(values: list[list[int]], mode: str = "L") -> bytes:
    return encoded(Image.fromarray(np.array(values, dtype=np.uint8)).convert(mode), "PNG")


def test_masks_give_their_values() -> None:
    assert check_mask(mask([[0, 3], [3, 150]]), (2, 2), 150, LIMIT) == {0: 1, 3: 2, 150: 1}


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (mask([[0, 1]]), (1, 2), "mask_size"),
        (mask([[0, 9]]), (2, 1), "mask_value"),
        (mask([[0, 1]], "RGB"), (2, 1), "mask_channels"),
        (mask([[0, 1]], "1"), (2, 1), "mask_depth"),
        (mask([[0, 1]], "I;16"), (2, 1), "mask_depth"),
        (four_bit_grey(), (2, 1), "mask_depth"),
        (encoded(picture("L"), "JPEG"), (40, 30), "mask_not_png"),
        (b"", (2, 1), "empty"),
        (mask([[0, 1]])[:-20], (2, 1), "truncated"),
    ],
)
def test_bad_masks_are_refused(data: bytes, size: tuple[int, int], expected: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_mask(data, size, 8, LIMIT)
    assert caught.value.reason in (expected, "damaged" if expected == "truncated" else expected)


def header_only(width: int, height: int) -> bytes:
    """Return a PNG that says how large it is, and ends before its first pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_max_pixels_rules_above_the_limit_of_the_library() -> None:
    """The decoder gets to the pixels of an image that it would refuse by itself, where the setting
    allows it.
    """
    data = header_only(14_000, 14_000)
    with pytest.raises(RefusedError) as caught:
        check("a.png", data, 14_000 * 14_000)
    assert caught.value.reason in ("truncated", "damaged")
    with pytest.raises(RefusedError, match=r"14000x14000, shard\.max_pixels allows 195999999"):
        check("a.png", data, 14_000 * 14_000 - 1)
    with pytest.raises(OSError, match="truncated"):  # what a loader does with it
        decode(data)


def test_a_png_too_wide_for_jpeg_is_refused_by_name() -> None:
    with pytest.raises(RefusedError) as caught:
        check("a.png", encoded(Image.new("L", (80_000, 9)), "PNG"), LIMIT, short_side=8)
    assert caught.value.reason == "too_large_for_jpeg" and "71111x8" in caught.value.detail
