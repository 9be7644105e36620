"""What pictures of detections and of label maps share: a colour for each class, overlays, hatching,
text that fits.
"""

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Colour = tuple[int, int, int]

# Okabe and Ito's colours, which people with any colour vision tell apart; further classes take hues
# in golden steps at three lightnesses. More than these seven cannot be told apart by colour alone,
# so pictures name what they show.
FIRST = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#0072b2")
INK = (36, 41, 47)
PAPER = (255, 255, 255)
MARGIN = 6


def class_colour(label: int) -> Colour:
    """Return a class's colour, the same in every picture."""
    if label < len(FIRST):
        red, green, blue = bytes.fromhex(FIRST[label][1:])
        return red, green, blue

    step = label - len(FIRST)
    value, saturation = ((0.95, 0.55), (0.70, 0.80), (0.85, 0.95))[step % 3]
    bright = colorsys.hsv_to_rgb((0.08 + 0.618034 * step) % 1, saturation, value)
    red, green, blue = (round(255 * share) for share in bright)
    return red, green, blue


def ink_on(colour: Colour) -> Colour:
    """Return dark or white, whichever stands out more on a colour (contrast as WCAG 2 defines
    it).
    """
    dark, ground, white = (_luminance(shade) + 0.05 for shade in (INK, colour, PAPER))
    return INK if ground / dark > white / ground else PAPER


def _luminance(colour: Colour) -> float:
    channels = np.array(colour) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def size_within(height: int, width: int, side: int) -> tuple[int, int]:
    """Return width and height that make the longer side of an image `side` pixels."""
    scale = side / max(height, width)
    return max(1, round(scale * width)), max(1, round(scale * height))


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return an image (H, W, 3) at another (width, height)."""
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Return a mask (H, W) at another (width, height), its outline smooth."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    smooth: Mask = np.asarray(grey) >= 128
    return smooth


def blend(canvas: Pixels, where: Mask, colour: Colour, share: float) -> None:
    """Mix a colour into the pixels of a canvas where a mask holds; `share` 1 covers them."""
    mixed = (1 - share) * canvas[where] + share * np.array(colour)
    canvas[where] = np.round(mixed).astype(np.uint8)


def outline(mask: Mask, thickness: int = 2) -> Mask:
    """Return the pixels of a mask that are at most `thickness` pixels from its outside."""
    inside = Image.fromarray(mask.astype(np.uint8) * 255).filter(
        ImageFilter.MinFilter(2 * thickness + 1)
    )
    rim: Mask = mask & (np.asarray(inside) == 0)
    return rim


def hatching(shape: tuple[int, ...], period: int = 8) -> Mask:
    """Return diagonal lines over a map (H, W): what is not judged, or not one object."""
    height, width = shape[:2]
    lines: Mask = (np.arange(height)[:, None] + np.arange(width)) % period < period // 4
    return lines


def font(points: int = 13) -> Any:
    """Return the typeface that Pillow brings, so that pictures are the same everywhere."""
    return ImageFont.load_default(points)


def text_width(text: str, points: int = 13) -> int:
    """Return the pixels that a line takes."""
    return int(np.ceil(font(points).getlength(text)))


def shortened(text: str, width: int, points: int = 13) -> str:
    """Return a line, or as much of it as fits with an ellipsis."""
    if text_width(text, points) <= width:
        return text
    kept = next(
        (n for n in range(len(text) - 1, 0, -1) if text_width(text[:n] + "…", points) <= width), 0
    )
    return text[:kept].rstrip() + "…"


def headed(panel: Pixels, text: str) -> Image.Image:
    """Return an image under a line that says what it is."""
    height, width = panel.shape[:2]
    canvas = Image.new("RGB", (width, height + 22), PAPER)
    canvas.paste(Image.fromarray(panel), (0, 22))
    ImageDraw.Draw(canvas).text((1, 3), shortened(text, width - 2), fill=INK, font=font())
    return canvas


def side_by_side(panels: list[Image.Image]) -> Image.Image:
    """Return panels of one size from left to right, with a margin around each."""
    width = sum(panel.width + MARGIN for panel in panels) + MARGIN
    canvas = Image.new("RGB", (width, max(panel.height for panel in panels) + 2 * MARGIN), PAPER)
    left = MARGIN
    for panel in panels:
        canvas.paste(panel, (left, MARGIN))
        left += panel.width + MARGIN
    return canvas
