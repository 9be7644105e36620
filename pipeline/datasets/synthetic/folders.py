"""Writing a stand-in data set: a folder that appears whole, and is drawn again where it was
touched.
"""

import hashlib
import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.core.files import digest, whole_folder, write_text
from pipeline.params.registry import datasets

VERSION = 2  # raise it when a scene changes, so that old folders are not mistaken for the new ones
SPLIT_NUMBERS = {"train": 0, "val": 1}


class Numbers(Protocol):
    """How many images, how large (pixels a side), and from which seed;
    `params.data.<name>.synthetic`.
    """

    @property
    def train(self) -> int:
        """Images of the training split."""

    @property
    def val(self) -> int:
        """Images of the validation split."""

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""

    @property
    def seed(self) -> int:
        """Seed of everything drawn."""


Files = Iterator[tuple[str, bytes]]


def folder_name(dataset: str, numbers: Numbers) -> str:
    """Return the scratch folder's name: the data set and a digest of all that decides its bytes."""
    decides = [VERSION, dataset, numbers.train, numbers.val, numbers.image_size, numbers.seed]
    return f"{dataset}-{digest(decides)[:12]}"


def materialise(dataset: str, numbers: Numbers, folder: Path) -> None:
    """Write a stand-in data set in its official layout, unless it lies there untouched.

    Args:
        dataset: the data set's name; its `about.py` names the module that draws.
        numbers: how many images, how large, which seed.
        folder: the folder to fill; it appears whole or not at all.
    """
    # beside it: the folder holds what the layout knows, no more
    seal = folder.with_name(f"{folder.name}.sha256")
    if folder.exists():
        if seal.is_file() and seal.read_text().strip() == _fingerprint(folder):
            return
        shutil.rmtree(folder)

    with whole_folder(folder) as beside:
        for path, data in _files(dataset, numbers):
            target = beside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    write_text(seal, _fingerprint(folder) + "\n")


def _files(dataset: str, numbers: Numbers) -> Files:
    """Yield the files of a data set: those beside the splits, where there are some, then each
    split's.
    """
    module = importlib.import_module(datasets()[dataset].synthetic)
    if hasattr(module, "names"):
        yield from module.names()

    for split, count in (("train", numbers.train), ("val", numbers.val)):

        def rng(index: int, number: int = SPLIT_NUMBERS[split]) -> np.random.Generator:
            return np.random.default_rng([numbers.seed, number, index])

        yield from module.files(split, count, numbers.image_size, rng)


def _fingerprint(folder: Path) -> str:
    """Return a digest of all paths and sizes below a folder."""
    lines = sorted(
        f"{path.relative_to(folder)} {path.stat().st_size}"
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
