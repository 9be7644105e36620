"""The shard command: it works on what was fetched, and on nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import make_project, one_by_one, run_stage

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.params import Shard
from pipeline.shard import print_account
from pipeline.shards import Manifest, ShardReader, verify
from pipeline.shards.build import build
from tests.cases import coco, imagenet

COCO = "data.coco.synthetic={train: 8, val: 4, image_size: 32}"


@pytest.fixture
def project(tmp_path: Path, ray_cluster: None) -> Path:
    made = make_project(tmp_path / "project")
    run_stage(made, "pipeline.fetch", "imagenet")
    return made


def test_from_fetch_to_reading(project: Path) -> None:
    run_stage(project, "pipeline.shard", "imagenet")
    folder = project / "data" / "shards" / "imagenet"
    assert verify(folder) == []
    assert ShardReader(folder, "train").shard_sizes == [50, 50, 50, 10]
    inventory = json.loads((project / "data" / "raw" / "imagenet.json").read_text())
    assert Manifest.load(folder).inventory == inventory["digest"]


def test_stand_ins_are_drawn_again_where_they_are_gone(project: Path) -> None:
    shutil.rmtree(project / "data" / "raw" / "synthetic")
    run_stage(project, "pipeline.shard", "imagenet")
    assert verify(project / "data" / "shards" / "imagenet") == []


def test_what_became_of_annotations_and_classes_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line a split, from the manifest."""
    for name, draw, right in (
        (
            "coco",
            coco.folder(change=coco.first(iscrowd=1)),
            "6 annotations: 5 seen, 1 for judging only (crowd 1)",
        ),
        ("imagenet", imagenet.folders, "3 to 3 samples in 2 classes"),
    ):
        draw(tmp_path / name)
        listing = list_folder(name, tmp_path / name, {})
        manifest = build(
            name, listing, Shard(), tmp_path / "shards", listing.digest(), run=one_by_one
        )
        print_account(manifest)
        printed = capsys.readouterr().out.splitlines()
        assert printed[:2] == [f"{name} train: {right}", f"{name} val: {right}"]


def test_nothing_fetched(project: Path) -> None:
    with pytest.raises(
        UserError, match=r"coco\.json does not exist; run `python -m pipeline\.fetch coco` first"
    ):
        run_stage(project, "pipeline.shard", "coco")


def test_other_params_than_were_fetched(project: Path) -> None:
    with pytest.raises(
        UserError, match=r"run `python -m pipeline\.fetch imagenet --set data\.imagenet\.\S+` first"
    ):
        run_stage(project, "pipeline.shard", "imagenet", "--set", "data.imagenet.synthetic.seed=1")
    assert [path.name for path in (project / "adhoc/params").iterdir()] == ["runs"], (
        "nothing but its lock"
    )


def write_over(image: Path) -> None:
    """Change a byte of the picture, and neither its name nor its size."""
    data = bytearray(image.read_bytes())
    data[-10] ^= 1
    image.write_bytes(data)


@pytest.mark.parametrize("change", [Path.unlink, write_over])
def test_a_source_that_changed_since(
    project: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    next((project / "data" / "raw" / "synthetic").glob("imagenet-*/")).rename(project / "photos")
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(
        params.replace("data: {imagenet: {", "data: {imagenet: {source: photos, ")
    )
    run_stage(project, "pipeline.fetch", "imagenet")
    change(next((project / "photos" / "train").rglob("*.JPEG")))
    with pytest.raises(
        UserError, match=r"changed since it was fetched; run `python -m pipeline\.fetch imagenet`"
    ):
        run_stage(project, "pipeline.shard", "imagenet")
    capsys.readouterr()
    run_stage(project, "pipeline.fetch", "imagenet")
    assert ("were written since they were fetched last" in capsys.readouterr().out) == (
        change is write_over
    )
    run_stage(project, "pipeline.shard", "imagenet")
    assert verify(project / "data" / "shards" / "imagenet") == []


def test_an_inventory_that_is_none(project: Path) -> None:
    (project / "data" / "raw" / "imagenet.json").write_text("{")
    with pytest.raises(UserError, match="does not say what was fetched; run"):
        run_stage(project, "pipeline.shard", "imagenet")


def test_an_adhoc_call_takes_and_leaves_its_own(project: Path) -> None:
    for stage in ("pipeline.fetch", "pipeline.shard"):
        run_stage(project, stage, "coco", "--set", COCO)
    assert (
        Manifest.load(project / "adhoc" / "params" / "data" / "shards" / "coco")
        .splits["val"]
        .samples
        == 4
    )
    assert not (project / "data" / "shards").exists()
