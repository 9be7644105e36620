"""A file of published weights as a network, for whoever reads files by `torch.load` alone.

`torch.load(file, pickle_module=models.published.torch_load)` gives the network of a safetensors
file, as `models.load` does: no pickle is in it, and nothing in it is run. MLflow names this module
beside a model's file, and so `mlflow.pytorch.load_model` takes published weights as they are.
"""

import os
from typing import IO, Any

from torch import nn
from torch.serialization import MAGIC_NUMBER, PROTOCOL_VERSION

BEFORE: tuple[Any, ...] = (MAGIC_NUMBER, PROTOCOL_VERSION, {})
"""What torch reads from the beginning of a file that is no archive, one call each."""


def load(file: IO[bytes], **options: Any) -> Any:
    """Return what torch expects next: what stands before a network, then that no storages follow.

    How often it was asked is kept in the file's position.
    """
    position = file.tell()
    if position >= len(BEFORE):
        return []
    file.seek(position + 1)
    return BEFORE[position]


class Unpickler:
    """What torch makes for the network itself; it has torch's methods, and calls none of them."""

    def __init__(self, file: IO[bytes], **options: Any) -> None:
        """`file` is one that was opened by its path."""
        self._file = file

    def load(self) -> nn.Module:
        """Return the network, on the CPU and in eval mode.

        Raises:
            ValueError: as `models.load`.
        """
        from models.published.loading import load

        network = load(self._file.name)
        self._file.seek(0, os.SEEK_END)
        return network
