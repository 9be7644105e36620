"""What each task and each data set says of itself: the `ABOUT` of its folder's `about.py`.

The folders lie above the params and are found by name, so that none of them stands in a list. An
`about.py` imports nothing that takes long (no torch, no NumPy): every command reads them all.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pipeline.core.errors import UserError
from pipeline.params.data import Dataset, Synthetic
from pipeline.params.folders import DATASETS

Split = Literal["train", "val"]


@dataclass(frozen=True)
class AboutDataset:
    """What a data set is.

    Attributes:
        reader: the module that reads its layout (`pipeline.datasets.base.Reader`).
        target: the extension of the target's member in shards; a task reads targets of one kind.
        classes: how many classes the official data set has.
        images: how many images each split of the official data set has.
        bytes: how large the official archives are, rounded.
        synthetic: the module that draws its stand-ins, in the layout that `reader` reads.
        rehearsal: the stand-ins that a rehearsal trains on.
        rehearsal_width: pixels that those are widened to, where a recipe wants wide images.
        section: its section of params.yaml, `data.<name>`.
    """

    reader: str
    target: str
    classes: int
    images: dict[Split, int]
    bytes: int
    synthetic: str
    rehearsal: Synthetic
    rehearsal_width: int | None = None
    section: type[Dataset] = Dataset


@cache
def datasets() -> dict[str, AboutDataset]:
    """Return the data sets by name."""
    return {name: _about("datasets", name, AboutDataset) for name in DATASETS}


def _about(kind: str, name: str, expected: type[Any]) -> Any:
    module = importlib.import_module(f"pipeline.{kind}.{name}.about")
    about = getattr(module, "ABOUT", None)
    if not isinstance(about, expected):
        raise UserError(
            f"{module.__file__} says nothing of {name!r}; it should end in "
            f"`ABOUT = {expected.__name__}(...)`"
        )
    return about
