"""How many images there are, from the best source that is there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import make_project, run_stage

from pipeline.params import DATASETS
from pipeline.planning.data import amount_of
from pipeline.project.call import Call

OFFICIAL = {
    "imagenet": (1_281_167, 50_000),
    "coco": (118_287, 5_000),
    "ade20k": (20_210, 2_000),
    "cifar10": (50_000, 10_000),
}
SOURCES = {
    "imagenet": "ILSVRC2012_img_train.tar",
    "coco": "train2017.zip",
    "ade20k": "ADEChallengeData2016.zip",
    "cifar10": "cifar-10-python.tar.gz",
}


@pytest.mark.parametrize("name", DATASETS)
def test_official_data_are_known_before_they_are_there(
    name: str, call_with: Callable[..., Call], tmp_path: Path
) -> None:
    call = call_with(data={name: {"source": "raw", "limit": {"train": 7}}})
    amount = amount_of(call, name)
    assert (amount.known, amount.images) == ("official", {"train": 7, "val": OFFICIAL[name][1]})
    (tmp_path / "raw").mkdir()
    assert amount_of(call, name).images is None  # a folder may hold anything
    (tmp_path / "raw" / SOURCES[name]).touch()
    assert amount_of(call_with(data={name: {"source": "raw"}}), name).images == dict(
        zip(("train", "val"), OFFICIAL[name], strict=True)
    )


def test_smaller_images_make_smaller_shards(call_with: Callable[..., Call]) -> None:
    data = {name: {"source": "raw"} for name in DATASETS}
    whole, small = call_with(data=data), call_with(data=data, shard={"short_side": 256})
    assert shards_of(small, "imagenet") < 0.4 * shards_of(whole, "imagenet")
    assert shards_of(small, "coco") == shards_of(whole, "coco")  # its boxes would have to follow


def shards_of(call: Call, name: str) -> int:
    shards = amount_of(call, name).shards
    assert shards is not None
    return shards


@pytest.mark.parametrize("name", DATASETS)
def test_sizes_of_stand_ins_are_near(
    name: str, call_with: Callable[..., Call], tmp_path: Path
) -> None:
    """What params say is what fetch then finds, exactly for images, about for bytes."""
    data = {name: {"synthetic": {"train": 20, "val": 10, "image_size": 64}}}
    expected = amount_of(call_with(data=data), name)
    project = make_project(tmp_path)
    (project / "params.yaml").write_text(f"data: {data}")
    run_stage(project, "pipeline.fetch", name)
    found = amount_of(call_with(data=data), name)
    assert (expected.known, found.known) == ("params", "inventory")
    assert expected.images == found.images == {"train": 20, "val": 10}
    assert expected.raw == pytest.approx(found.raw, rel=0.5)
    assert (
        amount_of(call_with(data={name: {"synthetic": {"train": 21}}}), name).known == "params"
    )  # of other data
