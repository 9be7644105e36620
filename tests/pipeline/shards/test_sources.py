"""Shards do not tell whether their images came from folders or from archives."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from helpers import SHARED
from packing import number_anew, pack, to_published

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.imagenet import real
from pipeline.params import Shard
from pipeline.shards import Manifest, ShardReader, verify
from pipeline.shards.build import build

pytestmark = pytest.mark.usefixtures("ray_cluster")


def shards(name: str, source: Path, folder: Path) -> dict[str, bytes]:
    """Build shards and return all their files."""
    listing = list_folder(name, source, {})
    assert not listing.quarantined
    build(name, listing, Shard(samples_per_shard=8), folder, listing.digest())
    assert verify(folder) == []
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


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
        shards(name, source, tmp_path / f"shards of {source.name}")
        for source in (folder, published, archives)
    )
    assert three == two  # the manifest with its digest of the listing included
    assert {k: v for k, v in one.items() if k != "manifest.json"} == {
        k: v for k, v in two.items() if k != "manifest.json"
    }
    manifests = [
        Manifest.model_validate_json(files["manifest.json"]) for files in (one, two, three)
    ]
    assert len({manifest.content for manifest in manifests}) == 1
    assert manifests[0].classes == manifests[1].classes
    if name != "imagenet":
        assert one == two


@pytest.mark.parametrize("name", ["imagenet", "coco", "ade20k"])
def test_folders_and_archives_give_the_same_bytes(raw: Path, tmp_path: Path, name: str) -> None:
    check(name, raw / name, tmp_path)


@pytest.mark.parametrize(
    ("name", "folder"), [("imagenet", "imagenet"), ("coco", "coco"), ("ade20k", "ade")]
)
def test_real_photographs_give_the_same_bytes(tmp_path: Path, name: str, folder: str) -> None:
    source = SHARED / "real" / folder
    if not source.is_dir():
        pytest.skip(f"no photographs in {source}")
    check(name, source, tmp_path)


def spoil(archive: Path, member: str) -> None:
    """Flip a bit of a member's packed bytes."""
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(member)
    data = bytearray(archive.read_bytes())
    data[info.header_offset + 30 + len(member) + info.compress_size // 2] ^= 8
    archive.write_bytes(data)


def test_a_damaged_member_is_quarantined_and_a_damaged_annotation_file_stops(
    raw: Path, tmp_path: Path
) -> None:
    archives = pack("coco", raw / "coco", tmp_path / "archives")
    image = min(path.name for path in (raw / "coco" / "val2017").iterdir())
    spoil(archives / "val2017.zip", f"val2017/{image}")
    listing = list_folder("coco", archives, {})
    assert (
        listing.digest() == list_folder("coco", raw / "coco", {}).digest()
    )  # no member was read yet
    build(
        "coco",
        listing,
        Shard(samples_per_shard=8, max_quarantined=1),
        tmp_path / "shards",
        listing.digest(),
    )
    (entry,) = Manifest.load(tmp_path / "shards").inputs.quarantined
    assert (entry.path, entry.reason) == (
        f"val2017/{image}",
        "damaged_member",
    ) and "CRC" in entry.detail
    spoil(archives / "annotations_trainval2017.zip", "annotations/instances_val2017.json")
    with pytest.raises(
        UserError, match=r"annotations_trainval2017\.zip \(annotations/.*json\): damaged_member"
    ):
        list_folder("coco", archives, {})


def test_reassessed_labels_lie_beside_the_shards(raw: Path, tmp_path: Path) -> None:
    folder, shards = Path(shutil.copytree(raw / "imagenet", tmp_path / "raw")), tmp_path / "shards"
    broken = next((folder / "val").glob("*/*00000003.JPEG"))
    broken.write_bytes(b"no image")
    entries = [[i % 10, 0] if i % 3 else [] for i in range(20)]
    (tmp_path / "real.json").write_text(json.dumps(entries))
    listing = list_folder("imagenet", folder, {})
    plain = build("imagenet", listing, Shard(max_quarantined=1), shards, listing.digest())
    assert "real_labels" not in plain.text and Manifest.load(shards) == plain
    assert "real" not in ShardReader(shards, "val").read(0, 0)

    real.attach(listing, tmp_path / "real.json", "imagenet")
    manifest = build("imagenet", listing, Shard(max_quarantined=1), shards, listing.digest())
    assert Manifest.load(shards) == manifest and verify(shards) == []
    assert manifest.content != plain.content and manifest.splits == plain.splits
    wanted = {
        f"ILSVRC2012_val_{i:08d}": sorted(set(entry))
        for i, entry in enumerate(entries, 1)
        if i != 3
    }
    assert json.loads((shards / "val.real.json").read_text()) == wanted
    samples = [ShardReader(shards, "val").read(0, i) for i in range(19)]
    assert {sample["__key__"]: sample["real"] for sample in samples} == wanted
    assert "real" not in ShardReader(shards, "train").read(0, 0)

    path = shards / "val.real.json"
    path.write_text(path.read_text().replace("[0,1]", "[0,2]"))
    assert (
        verify(shards)
        == verify(shards, ["val"])
        == ["val.real.json: content changed (SHA-256 differs)"]
    )
    assert verify(shards, ["train"]) == []
    with pytest.raises(UserError, match=r"val\.real\.json: content changed"):
        ShardReader(shards, "val")
    path.unlink()
    assert verify(shards) == ["val.real.json: missing"]


def test_content_is_what_a_run_depends_on(originals: Path) -> None:
    manifest = Manifest.load(originals / "imagenet")
    value = manifest.model_dump(mode="json")

    def changed(**change: object) -> Manifest:
        return Manifest.model_validate({**value, **change})

    moved = changed(inventory="0" * 64, inputs={**value["inputs"], "kept": 1})
    assert moved.content == manifest.content and moved.digest != manifest.digest
    renamed = changed(classes=[{**entry, "name": "x"} for entry in value["classes"]])
    assert renamed.content == manifest.content
    for other in (
        changed(dataset="coco"),
        changed(classes=value["classes"][::-1]),
        changed(target={**value["target"], "ignore": 0}),
        changed(images={**value["images"], "short_side": 8}),
        changed(splits={"val": value["splits"]["val"]}),
        changed(real_labels={"name": "val.real.json", "sha256": "0" * 64, "bytes": 1}),
    ):
        assert other.content != manifest.content
