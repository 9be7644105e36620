"""Photometric distortion as mmsegmentation means it, on 8-bit images.

torchvision's RandomPhotometricDistort is something else: it scales brightness where this shifts it,
blends contrast with the mean where this scales from black, and blends saturation with grey where
this scales it in HSV.
"""

import numpy as np
from PIL import Image

BRIGHTNESS = 32  # grey levels up or down
SCALE = (0.5, 1.5)  # of contrast and saturation
HUE = 18  # steps of 2 degrees: so many back, or one less forward


def distort(image: Image.Image, draw: np.random.Generator) -> Image.Image:
    """Change brightness, contrast, saturation and hue of an RGB image, each with probability 1/2.

    Contrast comes before saturation and hue or after them, by a fair coin.
    """
    brightness, contrast, early, saturation, hue = draw.random(5) < 0.5
    shift = draw.uniform(-BRIGHTNESS, BRIGHTNESS)
    scale = draw.uniform(*SCALE)
    saturate = draw.uniform(*SCALE)
    turn = float(draw.integers(-HUE, HUE)) / 180

    if brightness:
        image = image.point(_line(1, shift) * 3)
    if contrast and early:
        image = image.point(_line(scale, 0) * 3)
    if saturation or hue:
        bands = list(image.convert("HSV").split())
        bands[0] = bands[0].point(_circle(turn)) if hue else bands[0]
        bands[1] = bands[1].point(_line(saturate, 0)) if saturation else bands[1]
        image = Image.merge("HSV", bands).convert("RGB")
    return image.point(_line(scale, 0) * 3) if contrast and not early else image


def _line(scale: float, shift: float) -> list[int]:
    """Return what becomes of each grey level."""
    levels: list[int] = np.clip(np.arange(256) * scale + shift, 0, 255).astype(int).tolist()
    return levels


def _circle(turn: float) -> list[int]:
    """Return what becomes of each hue."""
    hues: list[int] = ((np.arange(256) + round(256 * turn)) % 256).tolist()
    return hues
