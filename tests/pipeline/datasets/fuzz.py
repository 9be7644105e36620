"""Mutates every kind of input and looks for anything but a typed error; prints one JSON object.

`PYTHONPATH=.:tests python tests/pipeline/datasets/fuzz.py FIRST COUNT`: mutation number n is a
function of n alone.
"""

import copy
import io
import json
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from helpers import one_by_one
from PIL import Image

from pipeline.core.errors import UserError
from pipeline.datasets.base import list_folder
from pipeline.datasets.coco.segmentations import compressed
from pipeline.datasets.images import RefusedError, check, check_mask
from pipeline.datasets.synthetic import materialise
from pipeline.params import Shard, Synthetic
from pipeline.shards import Manifest, ShardReader
from pipeline.shards.build import build
from pipeline.tasks.dense.geometry import Geometry
from pipeline.tasks.detect.masks import patch_of

SIDE = 32
NUMBERS = Synthetic(train=12, val=10, image_size=SIDE)
SHARD = Shard(samples_per_shard=8, max_quarantined=1000, max_dropped_annotations=1)
TEXTS = {
    "coco": "annotations/instances_train2017.json",
    "ade20k": "objectInfo150.txt",
    "imagenet": "LOC_synset_mapping.txt",
}
DEEP = json.loads("[" * 400 + "]" * 400)
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    10**30,
    2**63,
    "text",
    "",
    "\ud800",
    "\u202e\U0001f600",
    "../../x",
    "/etc/x",
    "a\0b",
    [],
    {},
    [[]],
    [1] * 5,
    float("nan"),
    float("inf"),
    {"size": [SIDE, SIDE], "counts": "~~~~"},
    {"size": [SIDE, SIDE], "counts": [0, -5, 10**20]},
    {"size": [], "counts": []},
    {"size": [SIDE, SIDE], "counts": [0, 2**32 + SIDE * SIDE]},
    {"size": [SIDE, SIDE], "counts": "b'" + "(" * 500},
    {"size": [SIDE, SIDE], "counts": [0] * 99_999 + [SIDE * SIDE]},
    {"size": [2**31, 2**31], "counts": [2**62]},
    [[1, 1, 1e8, 1, 9, 9]],
    [[1e8, 1e8, 2e8, 1e8, 2e8, 2e8]],
    [[-(10**400), 1, 9, 1, 9, 9]],
    [[0.1, 0.2, 0.3] * 2],
    [[float(i % 2) * 999_999 for i in range(40_000)]],
    [[1, 1, 9, float("nan"), 9, 9]],
    DEEP,
    [1e8, 1e8, 1e8, 1e8],
    [0.1, 0.1, 0.2, 0.2],
    [-5, -5, -1e8, 3],
    [0, 0, 1e-300, 1e300],
    True,
    False,
]
EXTREMES = (
    1e8,
    -1e8,
    4e8,
    2.0**31,
    1e15,
    1e308,
    -1e308,
    10**400,
    float("nan"),
    float("inf"),
    -0.0,
    1e-320,
    2**64,
)
FOREIGN = (
    b"[" * 100_000,
    b'{"a":' * 2000,
    b"9" * 5000,
    b"1e999",
    b"NaN",
    b"-",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xff\xfe",
    b"\t" * 50,
    b"\n" * 50,
    b"\r\n",
    "\u0301\u202e".encode(),
    "\u2028".encode(),
    b"\x85",
)


def flips(data: bytes, random: Random) -> bytes:
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def splice(data: bytes, random: Random) -> bytes:
    """Take a piece out, or put it in elsewhere."""
    begin, at = sorted(random.randrange(len(data)) for _ in range(2))
    piece = data[begin : begin + random.randrange(1, 400)]
    return random.choice(
        (
            data[:begin] + data[at:],
            data[:at] + piece + data[at:],
            data[:begin] + piece * 3 + data[at:],
        )
    )


def foreign(data: bytes, random: Random) -> bytes:
    """Put in what does not belong there."""
    at = random.randrange(len(data))
    return data[:at] + random.choice((*FOREIGN, random.randbytes(64))) + data[at:]


def larger(data: bytes, random: Random) -> bytes:
    """Make bytes near the start, where sizes and counts stand, as large as they can be."""
    spoilt = bytearray(data)
    at = random.randrange(min(len(spoilt), 200))
    spoilt[at : at + random.choice((1, 2, 4))] = b"\xff" * 4
    return bytes(spoilt)


def field(data: bytes, random: Random) -> bytes:
    """Delete, replace or double a value somewhere in a JSON tree; small parts are chosen as often
    as large ones.
    """
    tree = json.loads(data)
    kinds = [
        tree,
        *[[row] for kind in tree.values() for row in random.sample(kind, min(2, len(kind)))],
    ]
    places = [(node, key) for part in kinds for node, key in _places(part)]
    node, key = random.choice(places)
    action = random.randrange(4)
    if action == 0:
        del node[key]
    elif action == 1 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    else:
        node[key] = random.choice(ODD)
    return json.dumps(tree).encode()


def extreme(data: bytes, random: Random) -> bytes:
    """Replace numbers of annotations by extreme ones."""
    tree = json.loads(data)
    for row in random.sample(tree["annotations"], min(3, len(tree["annotations"]))):
        polygons = (
            row["segmentation"]
            if isinstance(row["segmentation"], list)
            else [row["segmentation"]["counts"]]
        )
        place = random.choice(
            [row["bbox"], *(polygon for polygon in polygons if isinstance(polygon, list))]
        )
        place[random.randrange(len(place))] = random.choice(EXTREMES)
    return json.dumps(tree).encode()


def _places(tree: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    keys = (
        list(tree)
        if isinstance(tree, dict)
        else list(range(min(len(tree), 4)))
        if isinstance(tree, list)
        else []
    )
    return [(tree, key) for key in keys] + [
        place for key in keys if depth < 4 for place in _places(tree[key], depth + 1)
    ]


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (flips, cut, splice, foreign, larger)


def pictures() -> list[tuple[str, bytes]]:
    """Return an image of each kind and mode that is read, interlaced and progressive ones too."""
    drawn = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    )
    deep = Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 60)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    made: list[tuple[str, str, Image.Image, dict[str, Any]]] = [
        ("a.jpg", "JPEG", drawn, {}),
        ("a.jpg", "JPEG", drawn, {"progressive": True, "exif": exif.tobytes()}),
        ("a.jpg", "JPEG", drawn.convert("CMYK"), {}),
        ("a.png", "PNG", drawn.convert("P"), {}),
        ("a.png", "PNG", drawn.convert("RGBA"), {"exif": exif.tobytes()}),
        ("a.png", "PNG", deep, {}),
    ]
    found = []
    for name, kind, image, options in made:
        out = io.BytesIO()
        image.save(out, kind, **options)
        found.append((name, out.getvalue()))
    return found


def run_image(random: Random) -> None:
    name, data = random.choice(pictures())
    spoilt = random.choice(BYTES)(data, random)
    checked = check(name, spoilt, SHARD.max_pixels)
    with Image.open(io.BytesIO(checked.data)) as image:
        assert (
            image.format in ("JPEG", "MPO", "PNG")
            and image.mode in ("L", "RGB")
            and image.size == (checked.width, checked.height)
        )


def run_mask(random: Random) -> None:
    labels = Image.fromarray(
        np.random.default_rng(0).integers(0, 151, (SIDE, SIDE), dtype=np.uint8)
    )
    out = io.BytesIO()
    labels.convert(random.choice(("L", "P"))).save(out, "PNG")
    values = check_mask(
        random.choice(BYTES)(out.getvalue(), random), (SIDE, SIDE), 150, SHARD.max_pixels
    )
    assert values and [*values] == sorted(values) and min(values) >= 0 and max(values) <= 150
    assert sum(values.values()) == SIDE * SIDE


def run_text(name: str, folder: Path, random: Random) -> None:
    """Spoil a file that is read whole, list the folder and build its shards."""
    path = folder / name / TEXTS[name]
    sound = path.read_bytes()
    mutations = (*BYTES, *[field] * 8, *[extreme] * 4) if name == "coco" else BYTES
    try:
        path.write_bytes(random.choice(mutations)(sound, random))
        listing = list_folder(name, folder / name, {})
        build(name, listing, SHARD, folder / "shards", listing.digest(), run=one_by_one)
        Manifest.load(folder / "shards")
        if name == "coco":
            draw_all(folder / "shards")
    finally:
        path.write_bytes(sound)
        for left in folder.glob("*shards*"):
            shutil.rmtree(left)


def draw_all(folder: Path) -> None:
    """Let the official tool draw whatever is in the shards: what it cannot bear ends this
    process.
    """
    for split in ("train", "val"):
        reader = ShardReader(folder, split)
        for shard, size in enumerate(reader.shard_sizes):
            for record in (json.loads(reader.read(shard, index)["json"]) for index in range(size)):
                for row in record["annotations"]:
                    compressed(row["segmentation"], (record["height"], record["width"]))
                    patch_of(row["segmentation"], Geometry(record["height"], record["width"]))


def run(chosen: int, folder: Path) -> None:
    """Run the mutation of that number; raises what the project raises."""
    random = Random(chosen)
    kind = chosen % 8
    if kind < 4:
        run_text(("coco", "coco", "ade20k", "imagenet")[kind], folder, random)
    elif kind < 6:
        run_image(random)
    else:
        run_mask(random)


def main() -> None:
    first, count = map(int, sys.argv[1:])
    outcomes: Counter[str] = Counter()
    failures, slowest = [], (0.0, -1)
    Geometry(1, 1)  # imports what draws, which takes seconds
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in TEXTS:
            materialise(name, NUMBERS, folder / name)
        for number in range(first, first + count):
            begin = time.process_time()  # not what other programs take
            try:
                run(number, folder)
                outcomes["passed"] += 1
            except (RefusedError, UserError) as error:
                outcomes[type(error).__name__] += 1
            except BaseException:
                failures.append((number, traceback.format_exc()))
            slowest = max(slowest, (time.process_time() - begin, number))
    print(
        json.dumps(
            {"outcomes": outcomes, "failures": failures, "slowest": slowest, "rss_mb": _peak_mb()}
        )
    )


def _peak_mb() -> float:
    """Return the most memory that this program had; what the process was before it started does not
    count.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
