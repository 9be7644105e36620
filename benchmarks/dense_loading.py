"""Training samples of detection and segmentation at the paper's sizes: images per CPU-second, and
where the time goes.

Drawn photographs of COCO's usual size (640 x 480, 10 polygons) and of ADE20K's (683 x 512, 12
regions), in batches of two as the recipes have them. Prints one JSON line a figure; `--real FOLDER`
reads photographs in the official layouts under FOLDER/coco and FOLDER/ade instead.
"""

import argparse
import cProfile
import io
import json
import pstats
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from pipeline.loading.grouping import is_wide
from pipeline.loading.sampling import Sampling
from pipeline.shards.manifest import ClassEntry
from pipeline.tasks.detect.recipe import DetectRecipe
from pipeline.tasks.detect.sampling import DetectSampling
from pipeline.tasks.segment.recipe import SegmentRecipe
from pipeline.tasks.segment.sampling import SegmentSampling

IMAGES, ROUNDS = 40, 5
CLASSES = [ClassEntry(id=number, name=str(number)) for number in range(1, 91)]
Raw = dict[str, Any]


def photograph(draw: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return smooth noise with some grain: about as many bytes a JPEG as a photograph."""
    coarse = Image.fromarray(draw.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    grain = draw.normal(0, 10, (height, width, 3))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def polygon(draw: np.random.Generator, width: int, height: int) -> list[float]:
    """Return a star of 30 points, a few percent of the image."""
    radius = draw.uniform(0.6, 1, 30) * draw.uniform(0.03, 0.2) * height
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    centre = draw.uniform(0.2, 0.8, 2) * (width, height)
    points = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    return [round(value, 2) for value in points.clip(0, (width, height)).reshape(-1).tolist()]


def detection(draw: np.random.Generator, number: int) -> Raw:
    width, height = (640, 480) if number % 3 else (480, 640)
    rows = []
    for label in range(10):
        shape = polygon(draw, width, height)
        corners = np.array(shape).reshape(-1, 2)
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        box = [left, top, right - left, bottom - top]
        rows.append(
            {
                "bbox": box,
                "category_id": label + 1,
                "iscrowd": 0,
                "area": 99.0,
                "segmentation": [shape],
            }
        )
    return detection_raw(str(number), jpeg(photograph(draw, width, height)), width, height, rows)


def detection_raw(key: str, data: bytes, width: int, height: int, rows: list[Any]) -> Raw:
    record = {
        "image_id": 1,
        "file_name": key,
        "width": width,
        "height": height,
        "annotations": rows,
    }
    return {"__key__": key, "jpg": data, "json": json.dumps(record, sort_keys=True).encode()}


def segmentation(draw: np.random.Generator, number: int) -> Raw:
    mask = Image.new("L", (683, 512), 1)
    for value in range(2, 14):
        ImageDraw.Draw(mask).polygon(polygon(draw, 1024, 1024), fill=value)
    data = io.BytesIO()
    mask.save(data, "PNG")
    return {"__key__": str(number), "jpg": jpeg(photograph(draw, 683, 512)), "png": data.getvalue()}


def jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return data.getvalue()


def real(folder: Path) -> tuple[list[Raw], list[Raw]]:
    told = json.loads((folder / "coco/annotations/instances_train2017.json").read_text())
    found = []
    for image in told["images"][:IMAGES]:
        rows = [row for row in told["annotations"] if row["image_id"] == image["id"]]
        data = (folder / "coco/train2017" / image["file_name"]).read_bytes()
        found.append(detection_raw(image["file_name"], data, image["width"], image["height"], rows))
    masks = sorted((folder / "ade/annotations/training").glob("*.png"))[:IMAGES]
    jpegs = [folder / f"ade/images/training/{mask.stem}.jpg" for mask in masks]
    pairs = zip(masks, jpegs, strict=True)
    return found, [
        {"__key__": m.stem, "jpg": j.read_bytes(), "png": m.read_bytes()} for m, j in pairs
    ]


def epoch(sampling: Sampling, raws: list[Raw], number: int) -> None:
    for start in range(0, len(raws), 2):
        sampling.collate([sampling.train_sample(raw, 0, number) for raw in raws[start : start + 2]])


def measure(figure: str, sampling: Sampling, raws: list[Raw]) -> None:
    """Print images per CPU-second, and the shares of the calls that take most."""
    epoch(sampling, raws, 0)
    rates = []
    for number in range(ROUNDS):
        start = time.process_time()
        epoch(sampling, raws, number)
        rates.append(len(raws) / (time.process_time() - start))
    profile = cProfile.Profile()
    profile.runcall(epoch, sampling, raws, 0)
    stats: Any = pstats.Stats(profile)
    most = sorted(((row[2], name[2]) for name, row in stats.stats.items()), reverse=True)[:6]
    shares = {
        name.strip("<>").removeprefix("method ")[:48]: round(spent / stats.total_tt, 2)
        for spent, name in most
    }
    rate = {"images_per_cpu_second": round(statistics.median(rates), 1), "rounds": ROUNDS}
    print(json.dumps({"figure": figure, **rate, "share_of_time": shares}), flush=True)


def measure_grouping(raws: list[Raw]) -> None:
    """Print what it costs to know an image's shape."""
    start = time.process_time()
    for raw in raws:
        is_wide(raw["json"])
    micros = 1e6 * (time.process_time() - start) / len(raws)
    print(json.dumps({"figure": "shape from a record", "microseconds": round(micros, 1)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path)
    folder = parser.parse_args().real
    torch.set_num_threads(1)
    if folder:
        found, masks = real(folder)
    else:
        draw = np.random.default_rng(0)
        found, masks = (
            [make(draw, i) for i in range(IMAGES)] for make in (detection, segmentation)
        )
    where = "real" if folder else "drawn"
    measure(f"detection, {where}", DetectSampling(DetectRecipe(), CLASSES), found)
    measure(f"segmentation, {where}", SegmentSampling(SegmentRecipe()), masks)
    measure_grouping(found)


if __name__ == "__main__":
    main()
