"""Each kind of damage is found and the file named."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import PROJECT

from pipeline.shards import Manifest, verify

Shards = Callable[[str], Path]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["imagenet", "coco", "ade20k"])
def test_sound_shards(originals: Path, name: str) -> None:
    assert verify(originals / name) == []


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_any_flipped_bit(shards: Shards, where: float) -> None:
    folder = shards("imagenet")
    path = folder / "train" / "000002.tar"
    flip(path, int(where * path.stat().st_size))
    assert verify(folder) == ["train/000002.tar: content changed (SHA-256 differs)"]


@pytest.mark.parametrize("length", [-1, -512, -1024, 512, 0])
def test_any_cut(shards: Shards, length: int) -> None:
    folder = shards("imagenet")
    path = folder / "val" / "000000.tar"
    size = path.stat().st_size
    os.truncate(path, length % size if length else 0)
    assert verify(folder) == [f"val/000000.tar: {path.stat().st_size} bytes, should be {size}"]


def test_missing_and_extra_files(shards: Shards) -> None:
    folder = shards("imagenet")
    (folder / "train" / "000001.tar").rename(folder / "train" / "000009.tar")
    (folder / "val.index.npy").unlink()
    (folder / "notes.txt").touch()
    assert verify(folder) == [
        "notes.txt: not in manifest.json",
        "train/000001.tar: missing",
        "train/000009.tar: not in manifest.json",
        "val.index.npy: missing",
    ]
    assert verify(folder, ["val"]) == ["val.index.npy: missing"]


def test_a_changed_index(shards: Shards) -> None:
    folder = shards("imagenet")
    flip(folder / "train.index.npy", -1)
    assert verify(folder) == ["train.index.npy: content changed (SHA-256 differs)"]


def test_a_manifest_that_contradicts_itself(shards: Shards) -> None:
    folder = shards("imagenet")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"samples": 30', '"samples": 29'))
    assert verify(folder) == ["train: manifest.json counts 29 samples, its shards hold 30"]


def test_a_shard_dropped_from_the_manifest(shards: Shards) -> None:
    folder = shards("imagenet")
    manifest = Manifest.load(folder)
    train = manifest.splits["train"]
    short = train.model_copy(update={"shards": train.shards[:-1], "samples": 24})
    manifest.model_copy(update={"splits": {**manifest.splits, "train": short}}).save(folder)
    (folder / "train" / train.shards[-1].name).unlink()
    assert verify(folder) == ["train.index.npy: 30 rows for 24 samples"]


def test_no_manifest_and_no_split(shards: Shards, tmp_path: Path) -> None:
    assert [line.split(":")[0] for line in verify(tmp_path)] == ["manifest.json"]
    assert verify(shards("coco"), ["test"]) == ["test: no such split in manifest.json"]


def test_the_command_says_what_is_wrong(shards: Shards) -> None:
    folder = shards("imagenet")
    command = [sys.executable, "-m", "pipeline.shards", "verify", str(folder)]
    sound = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (sound.returncode, sound.stdout) == (0, f"{folder}: 7 shards as in the manifest\n")
    flip(folder / "train" / "000000.tar", 700)
    (folder / "train" / "000001.tar").unlink()
    spoilt = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert spoilt.returncode == 1
    assert spoilt.stdout.splitlines() == [
        "train/000000.tar: content changed (SHA-256 differs)",
        "train/000001.tar: missing",
    ]
