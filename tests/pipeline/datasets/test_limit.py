"""A limit keeps the first samples of a split, and every other file has its bucket."""

from pathlib import Path

import pytest

from pipeline.datasets import in_shard_order, limited, list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Synthetic

COUNT = {"imagenet": 40, "coco": 9, "ade20k": 7}


@pytest.mark.parametrize("name", COUNT)
def test_a_limit_keeps_the_first_in_the_order_of_shards(tmp_path: Path, name: str) -> None:
    materialise(name, Synthetic(train=COUNT[name], val=COUNT[name], image_size=32), tmp_path / "raw")
    whole = list_folder(name, tmp_path / "raw", {})
    listed, digest = whole.listed, whole.digest()
    first = [sample.key for sample in in_shard_order(name, "train", whole.splits["train"])][:4]
    val = list(whole.splits["val"])
    short = limited(whole, name, {"train": 4})
    assert sorted(sample.key for sample in short.splits["train"]) == sorted(first)
    assert short.splits["val"] == val
    assert short.listed == listed and short.digest() != digest
    left = [entry.path for entry in short.ignored if entry.reason == "beyond_limit"]
    used = short.files_in("train")
    assert len(left) == (COUNT[name] - 4) * (len(used) // 4) and not set(left) & set(used)


def test_a_limit_beyond_the_split_changes_nothing(tmp_path: Path) -> None:
    materialise("coco", Synthetic(train=5, val=5, image_size=32), tmp_path / "raw")
    whole = list_folder("coco", tmp_path / "raw", {})
    digest = whole.digest()
    assert limited(whole, "coco", {"train": 9}).digest() == digest
