"""The brush of the stand-in scenes: colours, grounds, textures and shapes on arrays of shape (side,
side, 3) in [0, 1].

Every function draws its numbers from the generator that it is given, so a scene is a pure function
of its seed.
"""

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.float32]
Mask = NDArray[np.bool_]
Generator = np.random.Generator

JPEG_QUALITY = 92


@cache
def grid(side: int) -> tuple[Pixels, Pixels]:
    """Return the rows and columns of a square's pixel centres, in pixels, shapes (side, 1) and (1,
    side).
    """
    centres = np.arange(side, dtype=np.float32) + 0.5
    return centres[:, None], centres[None, :]


def colour(rng: Generator, value: float, saturation: float = 0.5) -> Pixels:
    """Return an RGB colour of random hue; `value` is its brightest channel."""
    hue = 6 * rng.random() - np.array([0, 2, 4])
    wheel = np.clip(np.abs((hue + 3) % 6 - 3) - 1, 0, 1)
    mixed: Pixels = (value * (1 - saturation * (1 - wheel))).astype(np.float32)
    return mixed


def ground(rng: Generator, side: int, contrast: float = 0.05) -> Pixels:
    """Return a ground of random colour with slow waves and grain of about `contrast`."""
    y, x = grid(side)
    fy, fx, phase, weight = rng.random(4, dtype=np.float32) * np.array(
        [6, 6, 6.3, contrast], dtype=np.float32
    )
    waves = weight * np.sin((fy * y + fx * x) / side + phase)
    grain = rng.random((side, side), dtype=np.float32) * np.float32(contrast)
    canvas: Pixels = colour(rng, rng.uniform(0.4, 0.6), 0.35) + (waves + grain)[..., None]
    return canvas


def stripes(v: Pixels, u: Pixels, period: float, angle: float, phase: float) -> Mask:
    """Return parallel bands; `v` and `u` are rows and columns in pixels, `period` is two bands
    wide.
    """
    bands: Mask = np.sin((np.cos(angle) * v + np.sin(angle) * u) * (2 * np.pi / period) + phase) > 0
    return bands


def checks(v: Pixels, u: Pixels, period: float, phase: tuple[float, float]) -> Mask:
    """Return a chessboard; `period` is two fields wide."""
    return ((v + phase[0]) % period < period / 2) ^ ((u + phase[1]) % period < period / 2)


def paint(canvas: Pixels, where: Mask, light: Mask, bright: Pixels, dark: Pixels) -> None:
    """Fill `where` of a canvas: `bright` where `light`, else `dark`."""
    canvas[where & light] = bright
    canvas[where & ~light] = dark


def patch(canvas: Pixels, cy: float, cx: float, radius: float) -> tuple[Pixels, Pixels, Pixels]:
    """Return the square of the canvas around a centre, and its rows and columns relative to the
    centre, in pixels.
    """
    side = canvas.shape[0]
    top = max(0, int(cy - radius))
    left = max(0, int(cx - radius))
    bottom = min(side, int(np.ceil(cy + radius)))
    right = min(side, int(np.ceil(cx + radius)))
    y, x = grid(side)

    return (
        canvas[top:bottom, left:right],
        y[top:bottom] - np.float32(cy),
        x[:, left:right] - np.float32(cx),
    )


def jpeg(canvas: Pixels) -> bytes:
    """Return a canvas as JPEG bytes."""
    out = io.BytesIO()
    Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8)).save(
        out, "JPEG", quality=JPEG_QUALITY
    )
    return out.getvalue()


def png(labels: NDArray[np.uint8]) -> bytes:
    """Return an index mask as PNG bytes with one channel."""
    out = io.BytesIO()
    Image.fromarray(labels).save(out, "PNG", compress_level=1)
    return out.getvalue()
