"""The C kernels beside this file, compiled once where there is a compiler and AVX2.

They are used only where they give Pillow's own pixels: a few images tell when they are loaded.
Everywhere else, and in every case that they decline, Pillow itself does the work.
"""

import ctypes
import os
import platform
import subprocess
import tempfile
from ctypes import c_int, c_ssize_t, c_void_p
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.core.files import user_cache

Pixels = NDArray[np.uint8]
SOURCE = Path(__file__).with_name("kernels.c")
COMPILER = ("cc", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
PATIENCE = 120  # seconds for a compiler on a busy machine
PROBES = ((40, 48, 30, 20), (48, 64, 60, 20), (33, 24, 50, 61))
"""Widths and heights before and after: both orders of Pillow's two passes, and an enlargement."""
MATRICES = ((1.0, 0.3, 0.0, 0.0, 1.0, 0.0), (0.9, 0.2, 1.5, -0.2, 0.9, 3.5))


class Kernels:
    """The compiled functions, as calls on arrays."""

    def __init__(self, library: ctypes.CDLL, tall: bool) -> None:
        """Take a library; `tall` says that Pillow resizes the lines of tall images first."""
        self._resize = library.resize
        self._affine = library.affine
        self._tall = tall
        self._resize.argtypes = [c_void_p, c_ssize_t, c_int, c_int, c_void_p, *[c_int] * 6]
        self._affine.argtypes = [c_void_p, c_int, c_int, c_void_p, c_void_p, c_void_p]
        self._affine.restype = None

    def resize(
        self, pixels: Pixels, size: tuple[int, int], cubic: bool, mirror: bool, channels: int
    ) -> Pixels | None:
        """Resize an image (H, W, 4) to (height, width, channels); None where it is too small."""
        out = np.empty((size[1], size[0], channels), np.uint8)
        source = pixels.ctypes.data, pixels.strides[0], pixels.shape[1], pixels.shape[0]
        shape = out.ctypes.data, *size, channels
        return out if self._resize(*source, *shape, cubic, mirror, self._tall) else None

    def affine(self, image: Image.Image, matrix: tuple[float, ...], fill: bytes) -> Image.Image:
        """Transform an RGB image as Pillow does with bicubic interpolation."""
        pixels = image.tobytes("raw", "RGBX")
        out = np.empty(len(pixels), np.uint8)
        numbers = np.array(matrix)
        self._affine(pixels, *image.size, out.ctypes.data, numbers.ctypes.data, fill)
        return Image.frombytes("RGB", image.size, out, "raw", "RGBX")


@cache
def kernels() -> Kernels | None:
    """Return the kernels, or None where they cannot be compiled, loaded or trusted."""
    try:
        library = ctypes.CDLL(str(_compiled()))
    except (OSError, UserError, subprocess.SubprocessError):  # UserError: no home
        return None
    if not library.usable():
        return None
    candidates = (Kernels(library, tall) for tall in (True, False))
    return next((candidate for candidate in candidates if _agrees(candidate)), None)


def _compiled() -> Path:
    """Return the library, compiled by the first process of this user that asks for it."""
    words = [*COMPILER, platform.machine(), SOURCE.read_text()]
    name = sha256("\0".join(words).encode()).hexdigest()[:16]
    library = user_cache(f"pixels-{name}.so")

    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            beside = Path(folder) / library.name
            command = [*COMPILER, str(SOURCE), "-o", str(beside), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
            os.replace(beside, library)

    return library


def _agrees(candidate: Kernels) -> bool:
    """Say whether the kernels give the pixels of the Pillow that is installed."""
    draw = np.random.default_rng(0)
    for width, height, *size in PROBES:
        pixels = draw.integers(0, 256, (height, width, 4), np.uint8)
        image = Image.frombytes("RGB", (width, height), pixels, "raw", "RGBX")
        target = size[0], size[1]
        for cubic in (True, False):
            how = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
            ours = candidate.resize(pixels, target, cubic, mirror=False, channels=3)
            if ours is None or not np.array_equal(ours, np.asarray(image.resize(target, how))):
                return False

        for matrix in MATRICES:
            theirs = image.transform(
                image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
            )
            if candidate.affine(image, matrix, bytes(4)).tobytes() != theirs.tobytes():
                return False

    return True
