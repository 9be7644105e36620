"""Small shards of all three data sets, written once and copied to be spoilt."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import one_by_one

from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Shard, Synthetic
from pipeline.shards.build import build

NUMBERS = Synthetic(train=30, val=20, image_size=32)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for name in ("imagenet", "coco", "ade20k"):
        materialise(name, NUMBERS, folder / name)
    return folder


@pytest.fixture(scope="session")
def originals(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for name in ("imagenet", "coco", "ade20k"):
        listing = list_folder(name, raw / name, {})
        build(
            name,
            listing,
            Shard(samples_per_shard=8),
            folder / name,
            listing.digest(),
            run=one_by_one,
        )
    return folder


@pytest.fixture
def shards(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of a data set's shards."""
    return lambda name: Path(shutil.copytree(originals / name, tmp_path / name))
