"""Random access gives what the stock reader gives, in any process and thread."""

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import webdataset
from helpers import one_by_one
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.loading.images import photograph
from pipeline.params import Shard, Synthetic
from pipeline.shards import ShardReader
from pipeline.shards import reader as reader_module
from pipeline.shards.build import build

Shards = Callable[[str], Path]
MEMBERS = {"imagenet": "cls", "coco": "json", "ade20k": "png"}


def positions(reader: ShardReader) -> list[tuple[int, int]]:
    return [
        (shard, index) for shard, size in enumerate(reader.shard_sizes) for index in range(size)
    ]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", list(MEMBERS))
def test_the_stock_reader_reads_the_same(originals: Path, name: str, split: str) -> None:
    reader = ShardReader(originals / name, split)
    urls = [str(path) for path in sorted((originals / name / split).glob("*.tar"))]
    stock = list(webdataset.WebDataset(urls, shardshuffle=False, nodesplitter=None))
    mine = [reader.read(*place) for place in positions(reader)]
    assert len(mine) == len(reader) == {"train": 30, "val": 20}[split]
    for ours, theirs in zip(mine, stock, strict=True):
        assert ours == {key: theirs[key] for key in ("__key__", "jpg", MEMBERS[name])}


def test_a_png_lies_beside_its_mask_and_every_reader_tells_them_apart(tmp_path: Path) -> None:
    materialise("ade20k", Synthetic(train=4, val=2, image_size=32), tmp_path / "raw")
    first, *_ = photographs = sorted((tmp_path / "raw/images/training").iterdir())
    Image.open(first).save(first.with_suffix(".png"))
    first.unlink()
    listing = list_folder("ade20k", tmp_path / "raw", {})
    build("ade20k", listing, Shard(), tmp_path / "shards", "0" * 64, run=one_by_one)
    reader = ShardReader(tmp_path / "shards", "train")
    mine = [reader.read(*place) for place in positions(reader)]
    members = [["image.png", "png"], *[["jpg", "png"]] * 3]
    assert [sorted(sample.keys() - {"__key__"}) for sample in mine] == members
    assert photograph(mine[0]) == mine[0]["image.png"] == first.with_suffix(".png").read_bytes()
    urls = [str(path) for path in sorted((tmp_path / "shards/train").glob("*.tar"))]
    stock = list(webdataset.WebDataset(urls, shardshuffle=False, nodesplitter=None))
    for ours, theirs in zip(mine, stock, strict=True):
        assert ours == {key: theirs[key] for key in ours}
    decoded = (
        webdataset.WebDataset(urls, shardshuffle=False, nodesplitter=None)
        .decode("pil")
        .to_tuple("jpg;image.png")
    )
    assert [image.size for (image,) in decoded] == [
        Image.open(path).size for path in photographs[1:2]
    ] * 4


def test_keys_are_read_alone(originals: Path) -> None:
    reader = ShardReader(originals / "imagenet", "val")
    assert [reader.key(*place) for place in positions(reader)] == [
        f"ILSVRC2012_val_{n:08d}" for n in range(1, 21)
    ]


def test_a_pickled_reader_reads_on(originals: Path) -> None:
    reader = ShardReader(originals / "coco", "train")
    before = reader.read(1, 3)
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.read(1, 3) == before
    assert len(pickle.dumps(reader)) < 20_000


def test_forks_and_threads_share_a_reader(originals: Path) -> None:
    reader = ShardReader(originals / "imagenet", "train")
    expected = [reader.read(*place) for place in positions(reader)]
    child = os.fork()
    if child == 0:
        right = [reader.read(*place) for place in positions(reader)] == expected
        os._exit(0 if right else 1)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(lambda place: reader.read(*place), positions(reader))) == expected
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_few_files_are_open_at_once(originals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "OPEN_FILES", 2)
    before = len(os.listdir("/proc/self/fd"))
    reader = ShardReader(originals / "imagenet", "train")
    expected = [reader.read(shard, 0)["__key__"] for shard in range(4)]
    assert [reader.read(shard, 0)["__key__"] for shard in range(4)] == expected
    assert (
        len(os.listdir("/proc/self/fd")) <= before + 2 + 1
    )  # the index is a map, whose file may stay open


@pytest.mark.parametrize("place", [(0, 8), (4, 0), (-1, 0), (0, -1)])
def test_places_that_do_not_exist(originals: Path, place: tuple[int, int]) -> None:
    with pytest.raises(IndexError):
        ShardReader(originals / "imagenet", "train").read(*place)


def test_unknown_splits_and_folders(originals: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no split 'test'; it has train, val"):
        ShardReader(originals / "imagenet", "test")
    with pytest.raises(UserError, match="no shards in"):
        ShardReader(tmp_path, "train")


def test_damaged_headers_are_noticed_while_reading(shards: Shards) -> None:
    folder = shards("imagenet")
    path = folder / "train" / "000001.tar"
    data = bytearray(path.read_bytes())
    data[130] ^= 1  # a digit of the first member's size
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"000001\.tar: sample 0 is damaged"):
        ShardReader(folder, "train").read(1, 0)


def test_a_cut_shard_is_noticed_while_reading(shards: Shards) -> None:
    folder = shards("imagenet")
    path = folder / "train" / "000000.tar"
    os.truncate(path, path.stat().st_size // 1024 * 512)
    with pytest.raises(UserError, match=r"000000\.tar: sample 7 is damaged"):
        ShardReader(folder, "train").read(0, 7)


def test_an_index_of_other_shards_is_refused(shards: Shards) -> None:
    folder = shards("imagenet")
    (folder / "train.index.npy").write_bytes((folder / "val.index.npy").read_bytes())
    with pytest.raises(UserError, match="the manifest counts 30 samples"):
        ShardReader(folder, "train")


def test_a_pickle_is_no_index(shards: Shards) -> None:
    folder = shards("imagenet")
    (folder / "train.index.npy").write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(UserError, match="unreadable index"):
        ShardReader(folder, "train")
