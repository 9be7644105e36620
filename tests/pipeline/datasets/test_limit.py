"""A limit keeps samples of every class, and every other file has its bucket."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.datasets import draw
from pipeline.datasets.base import limited, list_folder
from pipeline.datasets.synthetic import materialise
from pipeline.params import Synthetic

COUNT = {"imagenet": 40, "coco": 9, "ade20k": 7}


@pytest.mark.parametrize("name", COUNT)
def test_a_limit_keeps_so_many_and_accounts_for_all(tmp_path: Path, name: str) -> None:
    materialise(
        name, Synthetic(train=COUNT[name], val=COUNT[name], image_size=32), tmp_path / "raw"
    )
    whole = list_folder(name, tmp_path / "raw", {})
    listed, digest = whole.listed, whole.digest()
    samples, val = list(whole.splits["train"]), list(whole.splits["val"])
    short = limited(whole, name, {"train": 4})
    assert len(short.splits["train"]) == 4
    assert short.splits["train"] == [
        sample for sample in samples if sample in short.splits["train"]
    ]
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


def test_every_class_has_its_share_in_a_limited_split(tmp_path: Path) -> None:
    materialise("imagenet", Synthetic(train=60, val=40, image_size=32), tmp_path / "raw")
    shown = {}
    for seed in (0, 1):
        listing = limited(
            list_folder("imagenet", tmp_path / "raw", {}),
            "imagenet",
            {"train": 20, "val": 10},
            seed,
        )
        shown[seed] = [
            Counter(sample.target for sample in listing.splits[split]) for split in ("train", "val")
        ]
        assert [set(counts.values()) for counts in shown[seed]] == [{2}, {1}] and len(
            shown[seed][0]
        ) == 10
        assert not listing.warnings
    few = limited(list_folder("imagenet", tmp_path / "raw", {}), "imagenet", {"val": 3})
    assert few.warnings == ["data.imagenet.limit.val: 3 leaves 3 of 10 classes"]


def test_what_is_drawn_follows_from_names_and_seed() -> None:
    groups = {
        f"{group}{i}": group for group, size in (("a", 90), ("b", 9), ("c", 1)) for i in range(size)
    }
    chosen = draw.spread(groups, 20, 0)
    assert (
        chosen == draw.spread(dict(reversed(groups.items())), 20, 0) != draw.spread(groups, 20, 1)
    )
    assert draw.spread(groups, 10, 0) == chosen[:10], "a longer draw begins with the shorter one"
    assert {groups[name] for name in chosen[:3]} == {"a", "b", "c"}
    assert Counter(groups[name] for name in chosen) == {"a": 17, "b": 2, "c": 1}
    held = draw.share(groups, 0.2, 0)
    assert Counter(groups[name] for name in held) == {"a": 18, "b": 2}, (
        "the only one of a class stays in training"
    )
    assert held == draw.share(groups, 0.2, 0) != draw.share(groups, 0.2, 1)
