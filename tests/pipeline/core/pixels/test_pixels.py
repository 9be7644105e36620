"""The quick ways to pixels give Pillow's, bit for bit; where they cannot, Pillow does it."""

import io
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.pixels import affine, jpeg, native, resize
from pipeline.core.pixels.native import Pixels

SIDES = st.integers(1, 90)
SEEDS = st.integers(0, 2**32 - 1)
MODES = ("RGB", "L", "CMYK")
SAMPLINGS = (0, 1, 2)  # 4:4:4, 4:2:2, 4:2:0


def noise(width: int, height: int, seed: int = 0, coarse: int = 1) -> Image.Image:
    """Draw an image in which each pixel that is read wrongly shows."""
    shape = -(-height // coarse), -(-width // coarse), 3
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture(params=["kernels", "Pillow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "Pillow":
        for module in (resize, affine):
            monkeypatch.setattr(module, "kernels", lambda: None)
    elif native.kernels() is None:
        pytest.skip("there is no compiler, or a processor without AVX2")
    yield request.param


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES, SEEDS, st.integers(20, 98), st.data())
def test_a_jpeg_of_any_kind_is_decoded_to_pillows_pixels(
    width: int, height: int, seed: int, quality: int, data: st.DataObject
) -> None:
    image = noise(width, height, seed, coarse=data.draw(st.sampled_from((1, 3, 8))))
    sampling = data.draw(st.sampled_from(SAMPLINGS))
    options = {
        "quality": quality,
        "subsampling": sampling,
        "progressive": data.draw(st.booleans()),
        "restart_marker_blocks": data.draw(st.sampled_from((0, 2))),
        "keep_rgb": sampling == 0 and data.draw(st.booleans()),
    }
    mode = data.draw(st.sampled_from(MODES))
    file = encoded(image.convert(mode), **options)
    assert jpeg.is_sound(file) == (jpeg.strict_padded(file) is not None) == (mode != "CMYK")
    expected = by_pillow(file)
    assert np.array_equal(jpeg.decode(file), expected)
    assert np.array_equal(jpeg.decode_padded(file)[..., :3], expected)


def test_what_the_strict_decoder_refuses_pillow_reads() -> None:
    file = encoded(noise(64, 48, coarse=8))
    stray = file[:-2] + bytes(range(20)) + file[-2:]  # Pillow does not mind bytes before the end
    png = io.BytesIO()
    noise(20, 30).save(png, "PNG")
    for data in (stray, png.getvalue()):
        assert jpeg.strict_padded(data) is None
        assert not jpeg.is_sound(data)
        assert np.array_equal(jpeg.decode(data), by_pillow(data))
        assert np.array_equal(jpeg.decode_padded(data)[..., :3], by_pillow(data))


def test_a_jpeg_that_is_called_sound_is_read_whole_by_pillow() -> None:
    """Else a damaged file would get into a shard."""
    draw, accepted = Random(0), 0
    files = [
        encoded(noise(40, 56, coarse=4), subsampling=sampling, progressive=progressive)
        for sampling in SAMPLINGS
        for progressive in (False, True)
    ]
    for _ in range(3000):
        data = bytearray(draw.choice(files))
        at = draw.randrange(2, len(data))
        kind = draw.randrange(3)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[at : at + draw.randrange(1, 40)]
        else:
            del data[at:]
        if jpeg.is_sound(bytes(data)):
            accepted += 1
            assert jpeg.strict_padded(bytes(data)) is not None
            assert np.array_equal(jpeg.decode(bytes(data)), by_pillow(bytes(data)))
    assert 300 < accepted < 2500


@settings(max_examples=300, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, SEEDS, st.data())
def test_an_image_is_resized_to_pillows_pixels(
    width: int, height: int, wide: int, tall: int, seed: int, data: st.DataObject
) -> None:
    whole = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    if data.draw(st.booleans()):
        whole = (whole > 127).astype(np.uint8) * 255  # overshoots at every edge
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    pixels, mirror = whole[top:, left:], data.draw(st.booleans())
    by: Any = data.draw(st.sampled_from(("bilinear", "bicubic")))
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    expected = np.asarray(image.resize((wide, tall), resize.RESAMPLE[by]))
    expected = expected[:, ::-1] if mirror else expected
    for channels in (3, 4):
        got = resize.resize(pixels, (wide, tall), by, mirror, channels)
        assert got.shape == (tall, wide, channels)
        assert np.array_equal(got[..., :3], expected)


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (200, 201), (90, 1000)])
def test_photographs_sizes_are_resized_by_kernels_as_by_pillow(
    way: str, size: tuple[int, int]
) -> None:
    image = noise(*size)
    pixels = jpeg.array(image, 4)
    for target in ((224, 224), (341, 256), (100, 61)):
        expected = np.asarray(image.resize(target, Image.Resampling.BICUBIC))
        assert np.array_equal(resize.resize(pixels, target), expected)


OPERATIONS = {
    "rotate": (-30.0, 30.0),
    "shear_x": (-0.3, 0.3),
    "shear_y": (-0.3, 0.3),
    "translate_x_rel": (-0.45, 0.45),
    "translate_y_rel": (-0.45, 0.45),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_affine_operation_of_timm_gives_pillows_pixels(name: str, way: str) -> None:
    from timm.data import auto_augment

    slow = getattr(auto_augment, name)
    quick = affine.quick(slow)
    options = {"resample": Image.Resampling.BICUBIC, "fillcolor": (124, 116, 104)}
    draw = np.random.default_rng(0)
    levels = [*draw.uniform(*OPERATIONS[name], 60), 0.0, 0.25, 180.0, 90.0]
    for number, level in enumerate(levels):
        width, height = draw.integers(1, 80, 2).tolist()
        image = noise(width, height, seed=number)
        got, expected = (call(image, float(level), **options) for call in (quick, slow))
        assert (got.mode, got.size) == ("RGB", image.size)
        assert got.tobytes() == expected.tobytes(), (name, level, image.size)


def test_other_interpolation_is_left_to_pillow() -> None:
    def shear(image: Any, **options: Any) -> Any:
        return image.transform(image.size, Image.Transform.AFFINE, (1, 0.2, 0, 0, 1, 0), **options)

    image, options = noise(50, 40), {"resample": Image.Resampling.BILINEAR, "fillcolor": (1, 2, 3)}
    assert affine.quick(shear)(image, **options).tobytes() == shear(image, **options).tobytes()


def test_without_a_compiler_there_are_no_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert native.kernels.__wrapped__() is None


def test_kernels_of_other_pixels_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a new Pillow computes in another way."""
    if native.kernels() is None:
        pytest.skip("there are no kernels")
    pillows = Image.Image.resize

    def other(self: Image.Image, *args: Any, **options: Any) -> Image.Image:
        return pillows(self, *args, **options).point(lambda value: value ^ 1)

    monkeypatch.setattr(Image.Image, "resize", other)
    assert native.kernels.__wrapped__() is None
