"""Raw archives read in place against unpacking them first: the list of members and all their bytes,
one process.

Prints one JSON line for each kind of archive: medians of interleaved pairs, and the median of the
pairs' ratios (above 1: in place is faster). Unpacking writes to the disk that holds the temporary
folder.
"""

import io
import json
import os
import shutil
import statistics
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.datasets.ade20k import ade20k
from pipeline.datasets.coco import coco
from pipeline.datasets.imagenet import imagenet
from pipeline.datasets.source import open_source

IMAGES, SIDE, CLASSES, ROUNDS = 4000, 320, 40, 7
OFFICIAL = {**imagenet.ARCHIVES, **coco.ARCHIVES, **ade20k.ARCHIVES}


def photographs() -> list[bytes]:
    """Return JPEGs of noise, some 30 kB each; a few are drawn, the others differ in their
    comment.
    """
    drawn = []
    for seed in range(20):
        pixels = np.random.default_rng(seed).integers(
            0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8
        )
        image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        drawn.append(image)
    made = []
    for number in range(IMAGES):
        out = io.BytesIO()
        drawn[number % len(drawn)].save(out, "JPEG", quality=85, comment=str(number).encode())
        made.append(out.getvalue())
    return made


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def pack_nested(path: Path, images: list[bytes]) -> None:
    with tarfile.open(path, "w") as outer:
        for label in range(CLASSES):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for number in range(label, IMAGES, CLASSES):
                    add(archive, f"n{label:08d}_{number}.JPEG", images[number])
            add(outer, f"n{label:08d}.tar", inner.getvalue())


def pack_flat(path: Path, images: list[bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for number, data in enumerate(images, start=1):
            add(archive, f"ILSVRC2012_val_{number:08d}.JPEG", data)


def pack_zip(path: Path, images: list[bytes]) -> None:
    method = zipfile.ZIP_STORED if path.name.startswith("train") else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, data in enumerate(images):
            archive.writestr(f"train2017/{number:012d}.jpg", data)


def in_place(path: Path, _: Path) -> int:
    return sum(len(place.read()) for place in open_source(path, OFFICIAL).files.values())


def unpacked(path: Path, folder: Path) -> int:
    """Unpack with the standard library and read every file."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    else:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
        for inner in sorted(folder.glob("*.tar")):
            with tarfile.open(inner) as archive:
                archive.extractall(folder / inner.stem, filter="data")
            inner.unlink()
    return sum(len(place.read()) for place in open_source(folder, {}).files.values())


def timed(work: Callable[[Path, Path], int], path: Path, folder: Path) -> tuple[float, int]:
    os.sync()  # what an earlier round wrote is not this one's to wait for
    start = time.perf_counter()
    size = work(path, folder)
    return time.perf_counter() - start, size


def main() -> None:
    images = photographs()
    kinds: dict[str, Callable[[Path, list[bytes]], None]] = {
        "ILSVRC2012_img_train.tar": pack_nested,
        "ILSVRC2012_img_val.tar": pack_flat,
        "train2017.zip": pack_zip,
        "ADEChallengeData2016.zip": pack_zip,
    }
    for name, pack in kinds.items():
        with tempfile.TemporaryDirectory() as temporary:
            path, folder = Path(temporary) / name, Path(temporary) / "unpacked"
            pack(path, images)
            pairs = []
            for _ in range(ROUNDS):
                ours, size = timed(in_place, path, folder)
                theirs, same = timed(unpacked, path, folder)
                shutil.rmtree(folder)
                if not size == same == sum(map(len, images)):
                    raise SystemExit(
                        f"{name}: {size} and {same} bytes came, {sum(map(len, images))} went in"
                    )
                pairs.append((ours, theirs))
            in_place_s = statistics.median(ours for ours, _ in pairs)
            unpacked_s = statistics.median(theirs for _, theirs in pairs)
            figure = {
                "figure": f"archives read in place, {name}, wall",
                "peer": "unpacking and reading",
                "ratio": round(statistics.median(theirs / ours for ours, theirs in pairs), 2),
                "goal": None,
                "stretch": None,
                "ours": round(1e3 * in_place_s),
                "theirs": round(1e3 * unpacked_s),
                "command": "make bench only=archives",
                "images": IMAGES,
                "megabytes": round(size / 1e6),
                "rounds": ROUNDS,
            }
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
