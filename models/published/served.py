"""A published detector for servers that pass arrays by name, as MLflow's do.

A classifier and a segmenter are one array in and one out, which such servers do by themselves.
Whoever only wants to name this module has not to wait for torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

WEIGHTS = "model.pth"


class ServedDetector:
    """A detector whose input and output are NumPy arrays."""

    def __init__(self, path: str | Path) -> None:
        """`path` is a file of published weights.

        Raises:
            ValueError: as `models.load`.
        """
        from models.published.loading import load

        self.network = load(path)

    def predict(self, inputs: Mapping[str, Any], params: object = None) -> list[dict[str, Any]]:
        """Return `boxes`, `labels`, `scores` and `masks` of each image, as the detector does.

        Args:
            inputs: `images` (B, 3, H, W), normalised, and `sizes` (B, 2), (height, width) in pixels
                of each image's valid part.
            params: nothing; servers pass it.
        """
        import torch

        images = torch.as_tensor(inputs["images"], dtype=torch.float32)
        sizes = [(int(height), int(width)) for height, width in inputs["sizes"]]

        with torch.no_grad():
            found = self.network(images, sizes)
        return [{name: values.numpy() for name, values in image.items()} for image in found]


def _load_pyfunc(path: str) -> ServedDetector:
    """Return what MLflow serves; `path` is the folder of a model's data."""
    return ServedDetector(Path(path) / WEIGHTS)
