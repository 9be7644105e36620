"""Training batches from shards against ImageFolder with timm's and torchvision's own transforms.

Drawn photographs of 640 x 480 (`--real FOLDER` reads a folder in ImageNet's layout instead), in
batches of 32 at 224 pixels. With the paper's augmentation both sides normalise, erase and mix; crop
and flip are normalised alone. timm's policy is mended where it fails. First in one process, in
turns; then as whole DataLoaders of 1 and 2 workers in fresh processes, CPU time of all processes
together. Prints one JSON line a figure.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, Mixup, create_transform
from timm.data.auto_augment import posterize
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.common.side_by_side import interleaved, one_thread, tell
from benchmarks.dense_loading import jpeg, photograph
from pipeline.datasets.base import list_folder
from pipeline.loading.micro_batches import Ranks, TrainSamples, train_loader
from pipeline.params import Shard, Variant
from pipeline.shards.build import build
from pipeline.shards.manifest import Manifest
from pipeline.shards.reader import ShardReader
from pipeline.shards.task import write
from pipeline.tasks.classify.augment import _posterize
from pipeline.tasks.classify.logic import Classification, mix
from pipeline.tasks.classify.recipe import Augment, Recipe

IMAGES, BATCH, ROUNDS, CLASSES = 96, 32, 5, 4
WARM, TIMED, STARTS = 6, 12, 2
"""Batches of a whole loader before the clock starts and while it runs, and how often it starts."""
PAPER, PLAIN = "the paper's augmentation", "crop and flip"
AUGMENTS = {PAPER: Augment(), PLAIN: Augment(rand_augment=None, color_jitter=0, erasing=0)}
GOALS = {
    ("full size", PAPER): (1.6, 2.2),
    ("full size", PLAIN): (1.8, 2.5),
    ("256 pixels", PAPER): (2.5, 3.5),
    ("256 pixels", PLAIN): (4.5, 6.0),
}
COMMAND = "make bench only=loading"
Batches = Callable[[], Iterator[Any]]


def draw_folder(folder: Path, images: int = IMAGES) -> Path:
    """Draw photographs in ImageNet's layout and return the folder of its training split."""
    draw = np.random.default_rng(0)
    names = [f"n{label:08d}" for label in range(CLASSES)]
    for number in range(images + CLASSES):
        split = "train" if number < images else "val"
        path = folder / split / names[number % CLASSES] / f"{split}_{number:04d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(photograph(draw, 640, 480)))
    lines = [f"{name} class {name}" for name in names]
    (folder / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n")
    return folder / "train"


def make_shards(raw: Path, folder: Path, short_side: int | None) -> Path:
    """Build shards of a folder in ImageNet's layout, in this process."""
    listing, params = list_folder("imagenet", raw, {}), Shard(short_side=short_side)
    build("imagenet", listing, params, folder, listing.digest(), run=lambda w, *_: [*map(write, w)])
    return folder


class Ours:
    """This project's batches as its training loop has them: prepared, erased and mixed."""

    def __init__(self, shards: Path, kind: str) -> None:
        self.recipe = Recipe(micro_batch=BATCH, micro_batches=1, augment=AUGMENTS[kind])
        self.mixed = kind == PAPER
        variant = Variant(mixer="dwnet", size="micro")
        self.task = Classification(variant, self.recipe, Manifest.load(shards))
        reader = ShardReader(shards, "train")
        self.samples = TrainSamples(reader, self.task.sampling, self.recipe, seed=0)

    def finished(self, batch: Any, number: int) -> torch.Tensor:
        """Do in the training process what comes before the network."""
        prepared = self.task.prepare(batch, torch.device("cpu"))
        images: torch.Tensor = prepared["images"]
        if self.mixed:
            erased = self.task._erase(images)  # type: ignore[misc]
            labels = torch.nn.functional.one_hot(prepared["labels"], 1000).float()
            images, _ = mix(erased, labels, self.recipe.augment, (0, number, 0))
        return images

    def here(self) -> Iterator[Any]:
        """Give one epoch without workers."""
        for step in range(self.samples.steps_per_epoch):
            yield self.finished(self.samples[step, 0], step)

    def loader(self, workers: int) -> Iterator[Any]:
        """Give batches of the whole loader."""
        loader = train_loader(self.samples, 0, 10_000, Ranks(), workers)
        for number, batch in enumerate(loader):
            yield self.finished(batch, number)


class Theirs:
    """ImageFolder's batches with timm's transforms, or torchvision's where nothing is mixed."""

    def __init__(self, folder: Path, kind: str) -> None:
        cubic = transforms.InterpolationMode.BICUBIC
        normal = transforms.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        transform: Any = transforms.Compose(
            [
                transforms.RandomResizedCrop(224, interpolation=cubic),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                normal,
            ]
        )
        self.mixup = None
        if kind == PAPER:
            transform = create_transform(
                224,
                is_training=True,
                auto_augment="rand-m9-mstd0.5-inc1",
                interpolation="bicubic",
                re_prob=0.25,
                re_mode="pixel",
            )
            mend(transform)
            self.mixup = Mixup(0.8, 1.0, label_smoothing=0.1, num_classes=1000)
        self.images = ImageFolder(str(folder), transform)

    def finished(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mix."""
        if self.mixup is not None:
            images, _ = self.mixup(images, labels)
        return images

    def here(self) -> Iterator[Any]:
        """Give one epoch without workers."""
        for batch in DataLoader(self.images, BATCH, shuffle=True, drop_last=True):
            yield self.finished(*batch)

    def loader(self, workers: int) -> Iterator[Any]:
        """Give batches of a whole loader, its workers kept as long as it goes on."""
        endless = torch.utils.data.RandomSampler(
            self.images, replacement=True, num_samples=10_000 * BATCH
        )
        for batch in DataLoader(self.images, BATCH, sampler=endless, num_workers=workers):
            yield self.finished(*batch)


def mend(transform: Any) -> None:
    """Give a black image where timm's policy asks Pillow for one of no bits, which it refuses."""
    for part in transform.transforms:
        for operation in getattr(part, "ops", ()):
            if operation.aug_fn is posterize:
                operation.aug_fn = _posterize


def run(batches: Iterator[Any]) -> None:
    """Take every batch."""
    for _ in batches:
        pass


def spent() -> float:
    """Return the CPU seconds of this process and all that it started."""
    process = psutil.Process()
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def time_loader(side: str, source: Path, kind: str, workers: int) -> None:
    """Print the CPU milliseconds an image of a whole loader in its steady state."""
    one_thread()
    batches = (Ours if side == "ours" else Theirs)(source, kind).loader(workers)
    for _ in itertools.islice(batches, WARM):
        pass
    start = spent()
    for _ in itertools.islice(batches, TIMED):
        pass
    print(1e3 * (spent() - start) / TIMED / BATCH)


def whole(side: str, source: Path, kind: str, workers: int) -> float:
    """Return what `time_loader` prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loading", "--side", side, "--source", str(source)]
    command += ["--kind", kind, "--workers", str(workers)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(name: str, kind: str, shards: Path, folder: Path) -> None:
    """Print one process against one process."""
    ours, theirs = Ours(shards, kind), Theirs(folder, kind)
    images = ours.samples.steps_per_epoch * BATCH
    times = interleaved(lambda: run(ours.here()), lambda: run(theirs.here()), ROUNDS)
    mine, other = (spent_ms / images for spent_ms in times)
    peer = "ImageFolder with " + ("timm" if kind == PAPER else "torchvision")
    tell(
        f"loader, {name}, {kind}",
        f"{peer}, originals",
        (mine, other),
        *GOALS[name, kind],
        COMMAND,
        images_per_cpu_second=round(1e3 / mine),
        peers_images_per_cpu_second=round(1e3 / other),
    )


def compare_whole(kind: str, workers: int, shards: Path, folder: Path) -> None:
    """Print whole loaders in fresh processes."""
    pairs = [
        (whole("ours", shards, kind, workers), whole("theirs", folder, kind, workers))
        for _ in range(STARTS)
    ]
    mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    tell(
        f"whole loader, {workers} workers, full size, {kind}",
        "DataLoader of ImageFolder with timm",
        (mine, other),
        *GOALS["full size", kind],
        COMMAND,
        images_per_cpu_second=round(1e3 / mine),
        peers_images_per_cpu_second=round(1e3 / other),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, help="a folder in ImageNet's layout")
    for name in ("side", "kind"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        time_loader(args.side, args.source, args.kind, args.workers)
        return
    one_thread()
    with tempfile.TemporaryDirectory() as temporary:
        raw = args.real or Path(temporary) / "raw"
        folder = raw / "train" if args.real else draw_folder(raw)
        shards = {
            name: make_shards(raw, Path(temporary) / name.replace(" ", "_"), short_side)
            for name, short_side in (("full size", None), ("256 pixels", 256))
        }
        for name, kind in GOALS:
            compare(name, kind, shards[name], folder)
        for workers in (1, 2):
            compare_whole(PAPER, workers, shards["full size"], folder)


if __name__ == "__main__":
    main()
