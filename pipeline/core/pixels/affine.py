"""Affine transforms of RGB images with bicubic interpolation: Pillow's pixels."""

from collections.abc import Callable
from typing import Any

from PIL import Image

from pipeline.core.pixels.native import kernels

Matrix = tuple[float, ...]
Transform = Callable[..., Any]


def quick(transform: Transform) -> Transform:
    """Return a function of (image, ...) that calls `transform` or, as well, computes what it does.

    Args:
        transform: what calls nothing of an image but `transform`, `rotate`, `copy` and `transpose`,
            with the options `resample` and `fillcolor`, as the shears, shifts and rotations of
            timm do.
    """

    def called(image: Image.Image, *args: Any, **options: Any) -> Image.Image:
        library = kernels()
        if library is None or options.get("resample") != Image.Resampling.BICUBIC:
            return _checked(transform(image, *args, **options))

        matrix: Matrix | None = transform(_Asked(image.size), *args, **options)
        if matrix is None:
            return _checked(transform(image, *args, **options))
        return library.affine(image, matrix, bytes([*options["fillcolor"], 0]))

    return called


def _checked(image: Any) -> Image.Image:
    result: Image.Image = image
    return result


class _Asked:
    """Stands where an image would, and gives the matrix that it would be transformed by."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = self.width, self.height = size

    def transform(self, size: tuple[int, int], method: Any, data: Any, *_: Any, **__: Any) -> Any:
        """Give the matrix."""
        return tuple(data)

    def rotate(self, *args: Any, **options: Any) -> Any:
        """Give the matrix of a rotation."""
        return Image.Image.rotate(self, *args, **options)  # type: ignore[arg-type]

    def copy(self) -> None:
        """Give nothing: no pixel would be computed."""

    def transpose(self, method: Any) -> None:
        """Give nothing: no pixel would be computed."""
