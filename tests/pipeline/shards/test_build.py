"""Shards: the same bytes whatever the order of work, every input in one bucket, all or nothing."""

import errno
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import PROJECT, SHARED, make_project, one_by_one
from PIL import Image

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.listing import Filed
from pipeline.loading.images import photograph
from pipeline.params import Shard
from pipeline.shards import Manifest, ShardReader, verify
from pipeline.shards.build import Runner, build
from pipeline.shards.inputs import grouped
from pipeline.shards.task import Done, ShardWork, write
from pipeline.shards.writer import Written, write_shard

NAMES = ("imagenet", "coco", "ade20k")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def make(
    name: str,
    source: Path,
    folder: Path,
    splits: dict[str, str] | None = None,
    run: Runner = one_by_one,
    **options: int,
) -> Manifest:
    listing, params = (
        list_folder(name, source, splits or {}),
        Shard.model_validate({"samples_per_shard": 8, **options}),
    )
    return build(name, listing, params, folder, listing.digest(), run=run)


def read_all(folder: Path, split: str) -> list[dict[str, Any]]:
    reader = ShardReader(folder, split)
    return [
        reader.read(shard, index)
        for shard, size in enumerate(reader.shard_sizes)
        for index in range(size)
    ]


def add_up(manifest: Manifest) -> bool:
    inputs = manifest.inputs
    return inputs.listed == inputs.kept + sum(
        inputs.files(bucket) for bucket in ("repaired", "quarantined", "ignored")
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("in_flight", [1, 4])
def test_the_same_bytes_from_any_number_of_tasks(
    raw: Path, originals: Path, tmp_path: Path, ray_cluster: None, name: str, in_flight: int
) -> None:
    listing = list_folder(name, raw / name, {})
    build(
        name, listing, Shard(samples_per_shard=8), tmp_path / "again", listing.digest(), in_flight
    )
    assert contents(tmp_path / "again") == contents(originals / name)


def test_the_manifest_says_what_is_there(raw: Path, originals: Path) -> None:
    for name in NAMES:
        folder = originals / name
        manifest = Manifest.load(folder)
        assert (
            manifest.digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        )
        assert manifest.inventory == list_folder(name, raw / name, {}).digest()
        assert add_up(manifest) and not manifest.inputs.quarantined
        for split, entry in manifest.splits.items():
            assert [shard.name for shard in entry.shards] == sorted(os.listdir(folder / split))
            assert entry.samples == {"train": 30, "val": 20}[split]
            assert len((folder / "manifest.json").read_text().splitlines()) < 60


def test_members_vary_in_nothing_but_content(originals: Path) -> None:
    with tarfile.open(originals / "ade20k" / "train" / "000000.tar") as opened:
        members = opened.getmembers()
    assert [member.name for member in members[:2]] == [
        "ADE_train_00000001.jpg",
        "ADE_train_00000001.png",
    ]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }


def test_class_counts(originals: Path) -> None:
    manifest = Manifest.load(originals / "imagenet")
    labels = Counter(int(sample["cls"]) for sample in read_all(originals / "imagenet", "train"))
    counted = np.sum([shard.classes for shard in manifest.splits["train"].shards], axis=0)
    assert counted.tolist() == [labels[index] for index in range(10)] == [3] * 10


def test_training_shards_mix_the_classes_and_validation_is_sorted(originals: Path) -> None:
    first = Manifest.load(originals / "imagenet").splits["train"].shards[0]
    assert sum(count > 0 for count in first.classes) >= 4  # sorted by class it would be 3
    for name, split in (("imagenet", "val"), ("coco", "train"), ("ade20k", "train")):
        keys = [sample["__key__"] for sample in read_all(originals / name, split)]
        assert keys == sorted(keys)


def test_category_ids_go_to_indices_and_back(originals: Path) -> None:
    manifest = Manifest.load(originals / "coco")
    ids = {entry.id for entry in manifest.classes}
    assert manifest.class_index() == {1: 0, 3: 1, 7: 2, 16: 3, 44: 4, 62: 5}
    used = {
        a["category_id"]
        for sample in read_all(originals / "coco", "train")
        for a in json.loads(sample["json"])["annotations"]
    }
    assert used <= ids
    assert all(manifest.classes[manifest.class_index()[i]].id == i for i in used)


def test_masks_keep_their_bytes_and_zero_is_no_class(raw: Path, originals: Path) -> None:
    manifest = Manifest.load(originals / "ade20k")
    assert (manifest.target.member, manifest.target.ignore) == ("png", 0)
    assert [entry.id for entry in manifest.classes] == list(range(1, 9))
    for sample in read_all(originals / "ade20k", "val"):
        path = raw / "ade20k" / "annotations" / "validation" / f"{sample['__key__']}.png"
        assert sample["png"] == path.read_bytes()
    values = [
        np.unique(np.asarray(Image.open(io.BytesIO(s["png"]))))
        for s in read_all(originals / "ade20k", "train")
    ]
    shown = Counter(int(value) for each in values for value in each)
    counted = np.sum([shard.classes for shard in manifest.splits["train"].shards], axis=0)
    assert counted.tolist() == [shown[index + 1] for index in range(8)] and shown[0] > 0


def spoil(source: Path) -> dict[str, str]:
    """Spoil four training images in ways that only decoding shows; return the reason for each."""
    images = sorted((source / "train").rglob("*.JPEG"))
    data = images[0].read_bytes()
    images[0].write_bytes(data[: len(data) // 2])
    images[1].write_bytes(b"<html>gone</html>")
    Image.open(images[2]).copy().save(images[2], "PNG")
    Image.open(images[3]).convert("CMYK").save(images[3], "JPEG")
    found = ("truncated", "not_an_image", "format_mismatch", "cmyk")
    return {
        str(path.relative_to(source)): reason for path, reason in zip(images, found, strict=False)
    }


def test_bad_images_leave_their_own_shard_only(
    raw: Path, originals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(raw / "imagenet", tmp_path / "raw"))
    reasons = spoil(source)
    manifest = make("imagenet", source, tmp_path / "shards", max_quarantined=2)
    inputs = manifest.inputs
    assert {
        entry.path: entry.reason for entry in (*inputs.quarantined, *inputs.repaired)
    } == reasons
    assert len(inputs.quarantined) == len(inputs.repaired) == 2
    assert add_up(manifest) and inputs.listed == sum(len(files) for _, _, files in os.walk(source))
    assert manifest.splits["train"].samples == 28
    assert all(
        f"quarantined: {entry.path}: " in capsys.readouterr().err
        for entry in inputs.quarantined[:1]
    )
    gone = {Path(entry.path).stem for entry in inputs.quarantined}
    kept = [sample["__key__"] for sample in read_all(tmp_path / "shards", "train")]
    assert kept == [
        s["__key__"] for s in read_all(originals / "imagenet", "train") if s["__key__"] not in gone
    ]
    for sample in read_all(tmp_path / "shards", "train"):
        image = Image.open(io.BytesIO(photograph(sample)))
        assert image.mode == "RGB" and image.format == ("JPEG" if "jpg" in sample else "PNG")


def test_too_many_bad_files_fail_after_all_are_named(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(raw / "imagenet", tmp_path / "raw"))
    reasons = spoil(source)
    (source / "train" / "n00000001" / "notes.txt").write_text("x")
    with pytest.raises(
        UserError, match=r"3 of 52 files are unusable, .* shard\.max_quarantined allows 2"
    ):
        make("imagenet", source, tmp_path / "shards", max_quarantined=2)
    lines = capsys.readouterr().err.splitlines()
    quarantined = [
        path for path, reason in reasons.items() if reason in ("truncated", "not_an_image")
    ]
    for path in (*quarantined, "train/n00000001/notes.txt"):
        assert any(line.startswith(f"quarantined: {path}: ") for line in lines)
    assert sorted(os.listdir(tmp_path)) == [".shards.partial", "raw"]  # nothing looks finished


def test_a_bad_mask_takes_its_image_along(raw: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(raw / "ade20k", tmp_path / "raw"))
    masks = sorted((source / "annotations" / "training").iterdir())
    Image.new("L", (9, 9)).save(masks[0])
    Image.new("L", (32, 32), 99).save(masks[1])
    (source / "images" / "training" / f"{masks[2].stem}.jpg").write_bytes(b"\xff\xd8\xffx")
    manifest = make("ade20k", source, tmp_path / "shards", max_quarantined=6)
    found = {entry.path: entry.reason for entry in manifest.inputs.quarantined}
    assert found == {
        f"annotations/training/{masks[0].name}": "mask_size",
        f"images/training/{masks[0].stem}.jpg": "partner_quarantined",
        f"annotations/training/{masks[1].name}": "mask_value",
        f"images/training/{masks[1].stem}.jpg": "partner_quarantined",
        f"annotations/training/{masks[2].name}": "partner_quarantined",
        f"images/training/{masks[2].stem}.jpg": "damaged",
    }
    assert add_up(manifest)


def test_a_shard_without_a_usable_sample_is_left_out(raw: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(raw / "coco", tmp_path / "raw"))
    for image in sorted((source / "train2017").iterdir())[8:16]:
        image.write_bytes(b"spoilt")
    manifest = make("coco", source, tmp_path / "shards", max_quarantined=8)
    assert [shard.name for shard in manifest.splits["train"].shards] == [
        "000000.tar",
        "000002.tar",
        "000003.tar",
    ]
    assert verify(tmp_path / "shards") == []
    assert len(read_all(tmp_path / "shards", "train")) == manifest.splits["train"].samples == 22


def test_boxes_in_another_frame_are_refused(raw: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(raw / "coco", tmp_path / "raw"))
    image = sorted((source / "train2017").iterdir())[0]
    Image.new("RGB", (20, 32)).save(image)
    manifest = make("coco", source, tmp_path / "shards", max_quarantined=1)
    (entry,) = manifest.inputs.quarantined
    assert (entry.path, entry.reason) == (f"train2017/{image.name}", "size_mismatch")
    assert entry.detail == "image 20x32, annotations for 32x32"


def test_large_images_are_refused(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="50 of 51 files are unusable"):
        make("imagenet", raw / "imagenet", tmp_path / "shards", max_pixels=32 * 32 - 1)


def test_shrunk_images_say_so(raw: Path, tmp_path: Path) -> None:
    manifest = make(
        "imagenet", raw / "imagenet", tmp_path / "shards", short_side=16, jpeg_quality=80
    )
    assert (manifest.images.short_side, manifest.images.jpeg_quality) == (16, 80)
    sizes = {
        Image.open(io.BytesIO(sample["jpg"])).size
        for sample in read_all(tmp_path / "shards", "val")
    }
    assert sizes == {(16, 16)}
    kept = make("coco", raw / "coco", tmp_path / "boxes", short_side=16)
    assert kept.images.short_side is None


def test_a_killed_and_repeated_task_leaves_no_trace(
    raw: Path, originals: Path, tmp_path: Path
) -> None:
    listing = list_folder("coco", raw / "coco", {})
    path = tmp_path / "train" / "000000.tar"
    work = ShardWork(
        "coco",
        path,
        listing.splits["train"][:8],
        listing.tree.files,
        listing.classes,
        10**6,
        None,
        90,
    )
    for _ in range(2):
        done: Done = write(work)
    assert path.read_bytes() == (originals / "coco" / "train" / "000000.tar").read_bytes()
    assert done.written is not None and os.listdir(tmp_path / "train") == ["000000.tar"]


def test_an_old_folder_stays_until_the_new_one_is_whole(raw: Path, tmp_path: Path) -> None:
    make("imagenet", raw / "imagenet", tmp_path / "shards")
    before = contents(tmp_path / "shards")
    with pytest.raises(UserError):
        make("imagenet", raw / "imagenet", tmp_path / "shards", max_pixels=64)
    assert contents(tmp_path / "shards") == before
    make("imagenet", raw / "imagenet", tmp_path / "shards", samples_per_shard=30)
    assert os.listdir(tmp_path / "shards" / "train") == ["000000.tar"] and not verify(
        tmp_path / "shards"
    )


def test_a_full_disk_is_noticed_before_any_work(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(UserError, match=r"0\.0 GB free"):
        make("imagenet", raw / "imagenet", tmp_path / "shards")


def test_a_file_that_vanishes_is_named(raw: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(raw / "imagenet", tmp_path / "raw"))
    listing = list_folder("imagenet", source, {})
    gone = source / listing.splits["val"][3].image
    gone.unlink()
    with pytest.raises(UserError, match=rf"{gone}: No such file or directory \(ENOENT\)"):
        build(
            "imagenet",
            listing,
            Shard(samples_per_shard=8),
            tmp_path / "shards",
            listing.digest(),
            run=one_by_one,
        )
    assert not (tmp_path / "shards").exists()


CONVERSION = """
import sys
from pathlib import Path
from pipeline.datasets.base import list_folder
from pipeline.params import Shard
from pipeline.shards.build import build
from pipeline.shards.task import write
listing = list_folder("imagenet", Path(sys.argv[1]), {})
run = lambda works, *_: [write(work) for work in works]
build("imagenet", listing, Shard(samples_per_shard=8), Path(sys.argv[2]), listing.digest(), run=run)
"""


def convert(source: Path, folder: Path, fault: str) -> int:
    """Build the shards of ImageNet in a process of its own, without Ray; return its exit status."""
    command = [sys.executable, "-c", CONVERSION, str(source), str(folder)]
    return subprocess.run(
        command, cwd=PROJECT, env={**os.environ, failpoints.VARIABLE: fault}, check=False
    ).returncode


@pytest.mark.parametrize(
    ("fault", "sealed"),
    [
        ("shard.begun split=train index=2", 2),
        ("shard.written split=train index=2", 2),  # its tar is whole, and nobody vouches for it
        ("shard.written split=val index=2", 6),
        ("shards.joined", 7),
        ("shards.renamed", 0),
    ],
)
def test_a_killed_conversion_goes_on_and_ends_as_if_nothing_had_been(
    raw: Path,
    originals: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    sealed: int,
) -> None:
    folder = tmp_path / "imagenet"
    assert convert(raw / "imagenet", folder, fault) == -signal.SIGKILL
    assert folder.exists() == (fault == "shards.renamed")
    assert not folder.exists() or contents(folder) == contents(originals / "imagenet")
    written = count_writes(monkeypatch)
    make("imagenet", raw / "imagenet", folder)
    assert len(written) == 7 - sealed
    assert contents(folder) == contents(originals / "imagenet")
    assert os.listdir(tmp_path) == ["imagenet"]


def count_writes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that grows by the path of each shard that is written from now on."""
    written: list[Path] = []

    def counted(path: Path, *args: Any) -> Written:
        written.append(path)
        return write_shard(path, *args)

    monkeypatch.setattr("pipeline.shards.task.write_shard", counted)
    return written


def flip(partial: Path, source: Path) -> None:
    path = partial / "shards" / "train" / "000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def cut_seal(partial: Path, source: Path) -> None:
    path = partial / "seals" / "train" / "000001.json"
    path.write_bytes(path.read_bytes()[:-9])


def mend(partial: Path, source: Path) -> None:
    """Change one image, as a user would who mends a file that was refused."""
    listing = list_folder("imagenet", source, {})
    with open(source / listing.splits["val"][3].image, "ab") as file:
        file.write(b"\0")


def repaint(partial: Path, source: Path, split: str = "train", place: int = 5) -> None:
    """Change an image in a way that its size does not show."""
    path = source / list_folder("imagenet", source, {}).splits[split][place].image
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-3]]) + data[-1:])


@pytest.mark.parametrize(
    ("change", "options", "rewritten"),
    [
        (None, {}, 0),
        (None, {"max_quarantined": 3}, 0),
        (flip, {}, 1),
        (cut_seal, {}, 1),
        (mend, {}, 1),
        (repaint, {"max_quarantined": 1}, 1),
        (None, {"jpeg_quality": 80}, 7),
        (None, {"samples_per_shard": 15}, 4),
    ],
)
def test_a_seal_counts_for_the_same_shard_of_the_same_inputs_alone(
    raw: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Any,
    options: dict[str, Any],
    rewritten: int,
) -> None:
    source = Path(shutil.copytree(raw / "imagenet", tmp_path / "raw"))
    with pytest.raises(UserError, match=r"EIO"):
        make("imagenet", source, tmp_path / "shards", run=stop_at_the_end)
    if change is not None:
        change(tmp_path / ".shards.partial", source)
    written = count_writes(monkeypatch)
    make("imagenet", source, tmp_path / "shards", **options)
    assert len(written) == rewritten
    make("imagenet", source, tmp_path / "clean", **options)
    assert contents(tmp_path / "shards") == contents(tmp_path / "clean")


def test_a_file_that_changes_while_its_shard_is_written_is_read_again(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copytree(raw / "imagenet", tmp_path / "raw"))

    def slow(path: Path, *args: Any) -> Written:
        written = write_shard(path, *args)
        if path.match("val/000000.tar"):
            repaint(tmp_path, source, "val", 0)
        return written

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"EIO"):
        patch.setattr("pipeline.shards.task.write_shard", slow)
        make("imagenet", source, tmp_path / "shards", run=stop_at_the_end)
    written = count_writes(monkeypatch)
    for folder in ("shards", "clean"):
        make("imagenet", source, tmp_path / folder, max_quarantined=1)
    assert len(written) == 1 + 7
    assert contents(tmp_path / "shards") == contents(tmp_path / "clean")


def stop_at_the_end(works: Sequence[ShardWork], in_flight: int | None, label: str) -> list[Done]:
    one_by_one(works, in_flight, label)
    raise OSError(errno.EIO, os.strerror(errno.EIO), "shards")


def test_other_code_breaks_every_seal(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"EIO"):
        make("imagenet", raw / "imagenet", tmp_path / "shards", run=stop_at_the_end)
    monkeypatch.setattr("pipeline.shards.seal.code", lambda: "other")
    written = count_writes(monkeypatch)
    make("imagenet", raw / "imagenet", tmp_path / "shards")
    assert len(written) == 7


def test_what_was_there_comes_back_where_a_kill_fell_between_the_two_renames(
    raw: Path, tmp_path: Path
) -> None:
    make("imagenet", raw / "imagenet", tmp_path / "shards")
    before = contents(tmp_path / "shards")
    (tmp_path / "shards").rename(tmp_path / ".shards.old")
    with pytest.raises(UserError, match="EIO"):
        make("imagenet", raw / "imagenet", tmp_path / "shards", run=stop_at_the_end)
    assert contents(tmp_path / "shards") == before
    make("imagenet", raw / "imagenet", tmp_path / "shards", samples_per_shard=30)
    assert os.listdir(tmp_path) == ["shards"] and len(contents(tmp_path / "shards")) == 5


def test_a_disk_that_fills_up_leaves_no_half_and_the_same_command_goes_on(
    raw: Path, originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [shard.bytes for shard in Manifest.load(originals / "coco").splits["train"].shards]
    fits = next(number for number, size in enumerate(sizes) if size > sizes[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes[:fits]), hard))
    try:
        with pytest.raises(UserError) as caught:
            make("coco", raw / "coco", tmp_path / "shards")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    name = f"{tmp_path}/.shards.partial/shards/train/{fits:06d}.tar"
    needed = (
        sum(path.stat().st_size for path in (raw / "coco").rglob("*") if path.is_file()) + 2048 * 50
    )
    assert re.match(
        rf"{re.escape(name)}: File too large \(EFBIG\); the shards need up to {needed:,} bytes "
        r"and [0-9,]+ are free: "
        "make room and give the same command again",
        str(caught.value),
    )
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(
        f"{number:06d}.{kind}" for number in range(fits) for kind in ("json", "tar")
    )
    written = count_writes(monkeypatch)
    make("coco", raw / "coco", tmp_path / "shards")
    assert len(written) == 7 - fits
    assert contents(tmp_path / "shards") == contents(originals / "coco")


def test_finished_shards_count_as_room(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="EIO"):
        make("imagenet", raw / "imagenet", tmp_path / "shards", run=stop_at_the_end)
    there = sum(path.stat().st_size for path in tmp_path.rglob("*.tar"))
    listing = list_folder("imagenet", raw / "imagenet", {})
    needed = sum(place.size for place in listing.tree.files.values()) + 2048 * 50
    for free, enough in ((needed - there, True), (needed - there - 1, False)):
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free)
        )
        with pytest.raises(UserError, match="EIO" if enough else "GB free"):
            make("imagenet", raw / "imagenet", tmp_path / "shards", run=stop_at_the_end)


@pytest.mark.faults
def test_a_killed_stage_goes_on_when_the_same_command_is_given(
    originals: Path, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(
        text.replace("{train: 160, val: 37,", "{train: 30, val: 20,").replace("50", "8")
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}

    def stage(verb: str, fault: str = "") -> int:
        command = [sys.executable, "-m", f"pipeline.{verb}", "imagenet"]
        return subprocess.run(
            command,
            cwd=project,
            env={**environment, failpoints.VARIABLE: fault, "PYTHONPATH": str(project)},
            check=False,
        ).returncode

    assert stage("fetch") == 0
    assert stage("shard", "shards.joined") == -signal.SIGKILL
    assert not (project / "data" / "shards" / "imagenet").exists()
    assert stage("shard") == 0
    assert contents(project / "data" / "shards" / "imagenet") == contents(originals / "imagenet")


@pytest.mark.parametrize(
    ("hidden", "rows"),
    [
        (3, ["a/.x0", "a/.x1", "a/.x2", "b/.x0", "b/.x1", "b/.x2"]),
        (4, ["a/", "b/"]),
    ],
)
def test_a_bucket_of_many_files_becomes_rows_of_folders(hidden: int, rows: list[str]) -> None:
    entries = [Filed(f"{folder}/.x{i}", "hidden") for folder in "ab" for i in range(hidden)]
    found = grouped(entries, 6)
    assert [entry.path for entry in found] == rows
    assert sum(entry.files for entry in found) == 2 * hidden
    assert grouped([Filed("top", "hidden"), *entries], 1) == [
        Filed("./", "hidden", files=2 * hidden + 1)
    ]
    assert len(grouped([*entries, Filed("c", "outside_layout")], 1)) == 2  # reasons stay apart


@pytest.mark.parametrize(
    ("name", "folder", "splits"),
    [
        ("imagenet", "imagenet", {}),
        ("imagenet", "cifar10", {"val": "test"}),
        ("coco", "coco", {}),
        ("ade20k", "ade", {}),
    ],
)
def test_real_folders(name: str, folder: str, splits: dict[str, str], tmp_path: Path) -> None:
    source = SHARED / "real" / folder
    if not source.is_dir():
        pytest.skip(f"no photographs in {source}")
    manifest = make(name, source, tmp_path / "shards", splits, samples_per_shard=500)
    assert add_up(manifest) and not manifest.inputs.quarantined and not verify(tmp_path / "shards")
    assert manifest.inputs.listed == sum(len(files) for _, _, files in os.walk(source))
    listing = list_folder(name, source, splits)
    for split, samples in listing.splits.items():
        by_key = {sample["__key__"]: sample for sample in read_all(tmp_path / "shards", split)}
        assert len(by_key) == len(samples)
        repaired = {entry.path for entry in manifest.inputs.repaired}
        for sample in samples:
            if sample.image not in repaired:
                assert by_key[sample.key]["jpg"] == (source / sample.image).read_bytes()
