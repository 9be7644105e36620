"""Shards of drawn photographs against webdataset's ShardWriter: CPU time of one process, in turns.

Both sides check what they store: the peer decodes each file by Pillow and hashes the tars that it
wrote. Re-encoding makes JPEGs of quality 90 with a short side of 256 pixels by a bicubic filter.
Drawn photographs of 640 x 480; `--real FOLDER` reads a folder in ImageNet's layout instead. Prints
one JSON line a figure.
"""

import argparse
import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import webdataset
from PIL import Image

from benchmarks.common.side_by_side import interleaved, one_thread, tell
from benchmarks.loading import draw_folder
from pipeline.datasets.base import list_folder
from pipeline.datasets.listing import Listing
from pipeline.params import Shard
from pipeline.shards.build import build
from pipeline.shards.manifest import Manifest
from pipeline.shards.task import write

IMAGES, ROUNDS, SHORT_SIDE, QUALITY, ENOUGH = 300, 5, 256, 90, 500
GOALS = {None: (1.5, 2.0), SHORT_SIDE: (1.8, 2.2)}
COMMAND = "make bench only=sharding"
Treat = Callable[[bytes], bytes]


def ours(listing: Listing, folder: Path, short_side: int | None) -> Manifest:
    """Build all shards of a listing in this process."""
    shutil.rmtree(folder, ignore_errors=True)
    params, digest = Shard(short_side=short_side), listing.digest()
    return build("imagenet", listing, params, folder, digest, run=lambda w, *_: [*map(write, w)])


def theirs(listing: Listing, folder: Path, treat: Treat) -> list[str]:
    """Write the same samples by ShardWriter and return the digest of each tar."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for split, samples in listing.splits.items():
        with webdataset.ShardWriter(f"{folder}/{split}-%06d.tar", maxcount=1000, verbose=0) as sink:
            for sample in samples:
                data = treat(listing.tree.files[sample.image].read())
                sink.write({"__key__": sample.key, "jpg": data, "cls": str(sample.target)})
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tar")]


def checked(data: bytes) -> bytes:
    """Decode a file and keep its bytes."""
    Image.open(io.BytesIO(data)).load()
    return data


def shrunk(data: bytes) -> bytes:
    """Encode a file again with a smaller short side."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def compare(figure: str, short_side: int | None, treat: Treat, raw: Path, scratch: Path) -> None:
    """Print how many times quicker the shards of a folder are built than the peer's."""
    listing = list_folder("imagenet", raw, {})
    manifest = ours(listing, scratch / "ours", short_side)
    files = sum(entry.samples for entry in manifest.splits.values())
    if files != sum(map(len, listing.splits.values())):
        raise SystemExit(f"{figure}: {files} samples are in the shards, not all")
    times = interleaved(
        lambda: ours(listing, scratch / "ours", short_side),
        lambda: theirs(listing, scratch / "theirs", treat),
        ROUNDS,
    )
    peer = "ShardWriter, Pillow" + ("" if short_side else " decoding") + ", SHA-256"
    rates = [round(1e3 * files / spent) for spent in times]
    goal, stretch = GOALS[short_side]
    rate: dict[str, Any] = {"files_per_cpu_second": rates[0], "peers": rates[1]}
    tell(figure, peer, times, goal, stretch, COMMAND, **rate)


def measure_paper(raw: Path, scratch: Path) -> None:
    """Print what fetching and sharding takes together, against what is enough for ImageNet."""

    def both() -> None:
        ours(list_folder("imagenet", raw, {}), scratch / "ours", None)

    files = sum(map(len, list_folder("imagenet", raw, {}).splits.values()))
    spent, _ = interleaved(both, lambda: None, ROUNDS)
    rate: dict[str, Any] = {"files_per_cpu_second": round(1e3 * files / spent)}
    enough = 1e3 * files / ENOUGH
    figure, peer = "fetch and shard, originals kept", f"{ENOUGH} files a CPU-second"
    tell(figure, peer, (spent, enough), 1.0, None, COMMAND, **rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, help="a folder in ImageNet's layout")
    real = parser.parse_args().real
    one_thread()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        raw = real or scratch / "raw"
        if not real:
            draw_folder(raw, IMAGES)
        compare("shards, originals kept", None, checked, raw, scratch)
        compare("shards, re-encoded to 256", SHORT_SIDE, shrunk, raw, scratch)
        measure_paper(raw, scratch)


if __name__ == "__main__":
    main()
