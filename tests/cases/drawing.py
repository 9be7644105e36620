"""What cases are drawn with: tiny pictures, no two alike, and files of any name."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 32)
"""Width and height of a picture, in pixels."""


def picture(seed: int = 0, size: tuple[int, int] = SIZE, mode: str = "RGB") -> Image.Image:
    """Return a picture of smooth waves with a block of one colour; another seed gives another
    picture.
    """
    rng = np.random.default_rng([seed, *size])
    x, y = np.meshgrid(np.linspace(0, 6, size[0]), np.linspace(0, 4, size[1]))
    phases = rng.uniform(0, 6, 3)
    waves = np.stack(
        [np.sin(x + phases[0]), np.cos(y + phases[1]), np.sin(x + y + phases[2])], axis=-1
    )
    pixels = (127 + 120 * waves).astype(np.uint8)
    pixels[: size[1] // 2, : size[0] // 3] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(seed: int = 0, size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """Return a picture as JPEG."""
    return encoded(picture(seed, size), "JPEG", **options)


def put(folder: Path, name: str | bytes, data: bytes | str | dict[str, Any] | list[Any]) -> None:
    """Write a file below a folder, and the folders on the way; names may be any bytes, mappings
    become JSON.
    """
    if isinstance(data, dict | list):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
