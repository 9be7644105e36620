"""CIFAR-10's archive: its rows are the photographs, and nothing that it names is run."""

import io
import os
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import build_shards, make_project, run_stage
from PIL import Image
from python2 import Value, pickled

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.cifar10.batches import PNG_BYTES, png
from pipeline.datasets.cifar10.cifar10 import BATCHES, FOLDER, NAMES

CLASSES = ("airplane", "automobile", "bird")
ROWS = 4
ARCHIVE = "cifar-10-python.tar.gz"


def planes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (ROWS, 3072), np.uint8)


def labels(seed: int) -> list[int]:
    return [(seed + row) % len(CLASSES) for row in range(ROWS)]


def batch(seed: int, **changes: Any) -> bytes:
    fields: dict[str, Value] = {
        "batch_label": b"a batch",
        "labels": [*labels(seed)],
        "data": planes(seed),
        "filenames": [b"a.png"] * ROWS,
    }
    return pickled({**fields, **changes})


def members(**changes: bytes) -> dict[str, bytes]:
    """Return the files of the archive, by their names in it."""
    names = pickled({"num_cases_per_batch": ROWS, "label_names": [n.encode() for n in CLASSES]})
    files = {path: batch(seed) for seed, path in enumerate(BATCHES)}
    return {NAMES: names, f"{FOLDER}/readme.html": b"<html>", **files, **changes}


def packed(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return folder


def unpacked(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_rows_are_photographs_of_their_class(tmp_path: Path) -> None:
    listing = list_folder("cifar10", packed(tmp_path, members()), {})

    assert [entry.id for entry in listing.classes] == list(CLASSES)
    assert {split: len(samples) for split, samples in listing.splits.items()} == {
        "train": 5 * ROWS,
        "val": ROWS,
    }
    for seed, path in enumerate(BATCHES):
        for row, (label, photograph) in enumerate(zip(labels(seed), planes(seed), strict=True)):
            name = f"/{CLASSES[label]}/{path.split('/')[1]}-{row:05d}.png"
            [sample] = [
                sample
                for samples in listing.splits.values()
                for sample in samples
                if sample.image.endswith(name)
            ]
            content = listing.read(sample.image)
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            assert sample.target == label
            assert len(content) == listing.tree.files[sample.image].size == PNG_BYTES
            assert np.array_equal(pixels, photograph.reshape(3, 32, 32).transpose(1, 2, 0))


def test_packed_or_not_is_the_same_and_each_byte_counts(tmp_path: Path) -> None:
    files = members()
    archive = list_folder("cifar10", packed(tmp_path / "packed", files), {})
    folder = list_folder("cifar10", unpacked(tmp_path / "unpacked", files), {})
    assert archive.digest() == folder.digest()

    path = next(iter(BATCHES))
    pixels = planes(0)
    pixels[2, 5] ^= 1
    changed = {**files, path: batch(0, data=pixels)}
    assert list_folder("cifar10", packed(tmp_path / "c", changed), {}).digest() != folder.digest()


def test_the_archive_becomes_shards(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    source = packed(tmp_path / "source", members())
    (project / "params.yaml").write_text(f"data: {{cifar10: {{source: '{source}'}}}}\n")
    run_stage(project, "pipeline.fetch", "cifar10")
    shards = build_shards(project, "cifar10")
    with tarfile.open(shards / "val" / "000000.tar") as shard:
        [first, *_] = [name for name in shard.getnames() if name.endswith(".image.png")]
        content = shard.extractfile(first)
        assert content is not None
        row = int(first.split(".")[0].rpartition("-")[2])
        assert content.read() == png(planes(5)[row].tobytes())


def test_folders_per_class_are_read_as_well(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in CLASSES:
            unpacked(tmp_path, {f"{split}/{name}/1.png": png(bytes(3072))})
    listing = list_folder("cifar10", tmp_path, {})
    assert {split: len(samples) for split, samples in listing.splits.items()} == {
        "train": 3,
        "val": 3,
    }


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


FIRST = next(iter(BATCHES))
WRONG = {
    "a label beyond the classes": (FIRST, batch(0, labels=[0, 1, 2, 3])),
    "a label that is no number": (FIRST, batch(0, labels=[0, 1, 2, b"3"])),
    "a label too few": (FIRST, batch(0, labels=[0, 1, 2])),
    "no data": (FIRST, pickled({"labels": [*labels(0)]})),
    "no dictionary": (FIRST, pickled([*labels(0)])),
    "cut off": (FIRST, batch(0)[:-10]),
    "empty": (FIRST, b""),
    "a name that leads out": (NAMES, pickled({"label_names": [b"a", b"..", b"c"]})),
    "a name with a slash": (NAMES, pickled({"label_names": [b"a", b"b/c", b"d"]})),
    "a name twice": (NAMES, pickled({"label_names": [b"a", b"a", b"b"]})),
    "a name that is no text": (NAMES, pickled({"label_names": [b"a", b"caf\xe9", b"b"]})),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_batch_is_named(what: str, tmp_path: Path) -> None:
    path, content = WRONG[what]
    source = packed(tmp_path, members(**{path: content}))
    with pytest.raises(UserError, match=f"{path}.*is no part of CIFAR-10: .*get the archive again"):
        list_folder("cifar10", source, {})


def test_a_batch_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content = pickle.dumps(Evil(marker), 2)
    with pytest.raises(UserError, match=r"posix\.system, which no batch does"):
        list_folder("cifar10", packed(tmp_path, members(**{FIRST: content})), {})
    assert not marker.exists()


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    files = members()
    del files[FIRST]
    with pytest.raises(UserError, match="data_batch_1 is missing"):
        list_folder("cifar10", packed(tmp_path, files), {})
