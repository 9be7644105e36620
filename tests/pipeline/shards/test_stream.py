"""The stock stream yields every sample once over ranks and workers; stock writers agree too."""

import io
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from helpers import one_by_one
from PIL import Image
from torch.utils.data import DataLoader

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.params import Shard
from pipeline.shards.build import build
from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import ShardReader
from pipeline.shards.stream import stream
from pipeline.shards.writer import ShardMember, write_shard

NAMES = ("imagenet", "coco", "ade20k")


@pytest.fixture(scope="module")
def folders(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("stream")
    made = {}
    for name in NAMES:
        listing = list_folder(name, raw / name, {})
        params = Shard(samples_per_shard=3)
        build(name, listing, params, root / name, listing.digest(), run=one_by_one)
        made[name] = root / name
    return made


def everything(folder: Path, split: str) -> dict[str, dict[str, Any]]:
    reader = ShardReader(folder, split)
    places = [(s, i) for s, size in enumerate(reader.shard_sizes) for i in range(size)]
    return {sample["__key__"]: sample for sample in (reader.read(*place) for place in places)}


@pytest.mark.parametrize("shuffle", [0, 5])
@pytest.mark.parametrize("workers", [1, 2])
def test_two_ranks_see_every_sample_once(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, workers: int, shuffle: int
) -> None:
    folder, seen = folders["imagenet"], Counter[str]()
    assert len(Manifest.load(folder).splits["train"].shards) >= 4
    for rank, worker in product(range(2), range(workers)):
        for name, value in {
            "RANK": rank,
            "WORLD_SIZE": 2,
            "WORKER": worker,
            "NUM_WORKERS": workers,
        }.items():
            monkeypatch.setenv(name, str(value))
        keys = [sample["__key__"] for sample in stream(folder, "train", shuffle)]
        assert keys
        seen.update(keys)
    assert seen == Counter(everything(folder, "train").keys())


def test_a_loader_with_workers_takes_it_as_it_is(folders: dict[str, Path]) -> None:
    loader = DataLoader(stream(folders["imagenet"], "train"), batch_size=None, num_workers=2)
    assert Counter(sample["__key__"] for sample in loader) == Counter(
        everything(folders["imagenet"], "train").keys()
    )


def test_the_order_is_the_seeds(folders: dict[str, Path]) -> None:
    def keys(*options: int) -> list[str]:
        return [sample["__key__"] for sample in stream(folders["imagenet"], "train", *options)]

    assert keys() == list(everything(folders["imagenet"], "train"))
    assert keys(5, 1) == keys(5, 1) != keys(5, 2)
    assert keys(5, 1) != keys()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_decoded(folders: dict[str, Path], name: str) -> None:
    stored = everything(folders[name], "val")
    for sample in stream(folders[name], "val"):
        assert sample.keys() == {"__key__", "image", "target"}
        raw = stored[sample["__key__"]]
        data = raw.get("jpg") or raw["image.png"]
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(sample["image"], picture)
        target = sample["target"]
        if name == "imagenet":
            assert target == int(raw["cls"])
        elif name == "coco":
            assert {"width", "height", "annotations"} <= target.keys()
        else:
            assert np.array_equal(target, np.asarray(Image.open(io.BytesIO(raw["png"]))))
            assert target.shape == sample["image"].size[::-1]


def test_a_split_that_is_not_there_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="has no split 'test'; it has train, val"):
        stream(folders["imagenet"], "test")


def test_the_stock_writer_gives_the_same_bytes_but_for_its_end(tmp_path: Path) -> None:
    """It pads to records of 10,240 bytes, and sorts members, so each is written by itself."""
    members = [ShardMember(f"a{n}", bytes(700 * n + 1), b"7", (0,)) for n in range(4)]
    write_shard(tmp_path / "own.tar", members, "cls", classes=1)
    with (
        open(tmp_path / "stock.tar", "wb") as file,
        webdataset.TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False) as stock,
    ):
        for member in members:
            stock.write({"__key__": member.key, "jpg": member.image})
            stock.write({"__key__": member.key, "cls": member.target})
    own, other = ((tmp_path / name).read_bytes() for name in ("own.tar", "stock.tar"))
    assert other[: len(own)] == own
    assert len(other) % 10_240 == 0 and len(own) % 10_240 != 0
    assert not any(other[len(own) :])
