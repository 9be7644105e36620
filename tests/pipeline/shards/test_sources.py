"""Shards do not tell whether their images came from folders or from archives."""

import shutil
from pathlib import Path

import pytest
from helpers import SHARED
from packing import number_anew, pack, to_published

from pipeline.datasets import list_folder
from pipeline.params import Shard
from pipeline.shards import Manifest, verify
from pipeline.shards.build import build

pytestmark = pytest.mark.usefixtures("ray_cluster")


def shards(name: str, source: Path, folder: Path) -> dict[str, bytes]:
    """Build shards and return all their files."""
    listing = list_folder(name, source, {})
    assert not listing.quarantined
    build(name, listing, Shard(samples_per_shard=8), folder, listing.digest())
    assert verify(folder) == []
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(name: str, original: Path, tmp_path: Path) -> None:
    """Build from a folder, from the folder as it is published, and from the official archives."""
    folder, published = tmp_path / "folder", tmp_path / "published"
    shutil.copytree(original, folder)
    if name == "imagenet":
        number_anew(folder / "val")
    shutil.copytree(folder, published)
    if name == "imagenet":
        to_published(published)
    archives = pack(name, published, tmp_path / "archives")
    one, two, three = (
        shards(name, source, tmp_path / f"shards of {source.name}") for source in (folder, published, archives)
    )
    assert three == two  # the manifest with its digest of the listing included
    assert {k: v for k, v in one.items() if k != "manifest.json"} == {
        k: v for k, v in two.items() if k != "manifest.json"
    }
    manifests = [Manifest.model_validate_json(files["manifest.json"]) for files in (one, two, three)]
    assert len({manifest.content for manifest in manifests}) == 1
    assert manifests[0].classes == manifests[1].classes
    if name != "imagenet":
        assert one == two


@pytest.mark.parametrize("name", ["imagenet", "coco", "ade20k"])
def test_folders_and_archives_give_the_same_bytes(raw: Path, tmp_path: Path, name: str) -> None:
    check(name, raw / name, tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("imagenet", "imagenet"), ("coco", "coco"), ("ade20k", "ade")])
def test_real_photographs_give_the_same_bytes(tmp_path: Path, name: str, folder: str) -> None:
    source = SHARED / "real" / folder
    if not source.is_dir():
        pytest.skip(f"no photographs in {source}")
    check(name, source, tmp_path)
