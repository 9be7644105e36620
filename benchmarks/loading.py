"""Training samples from shards against torchvision's ImageFolder with the same transforms, one
process each.

Prints one JSON line: medians of interleaved rounds, and their ratio (above 1: shards are faster).
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torchvision import transforms
from torchvision.datasets import ImageFolder

from pipeline.datasets.synthetic import materialise
from pipeline.loading.micro_batches import TrainSamples
from pipeline.params import Synthetic
from pipeline.shards.reader import ShardReader
from pipeline.tasks.classify.recipe import Augment, Recipe
from pipeline.tasks.classify.sampling import ClassifySampling

SHARDS = Path("data/shards/imagenet")
IMAGES, ROUNDS = 960, 7


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return IMAGES / (time.process_time() - start)


def main() -> None:
    if not (SHARDS / "manifest.json").exists():
        raise SystemExit("no shards: run `make repro` first")
    recipe = Recipe(
        image_size=64,
        eval_resize=64,
        micro_batch=32,
        micro_batches=1,
        augment=Augment(rand_augment=None),
    )
    shards = TrainSamples(ShardReader(SHARDS, "train"), ClassifySampling(recipe), recipe, seed=0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "images"
        materialise("imagenet", Synthetic(train=IMAGES, val=10), folder)
        crop = transforms.RandomResizedCrop(64, interpolation=transforms.InterpolationMode.BICUBIC)
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4)
        same = transforms.Compose(
            [crop, transforms.RandomHorizontalFlip(), jitter, transforms.PILToTensor()]
        )
        images = ImageFolder(str(folder / "train"), same)
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            ours.append(timed(lambda: [shards[step, 0] for step in range(IMAGES // 32)] and None))
            theirs.append(timed(lambda: [images[index] for index in range(IMAGES)] and None))
    a, b = statistics.median(ours), statistics.median(theirs)
    figure = {
        "figure": "loading",
        "unit": "images per CPU-second",
        "shards": round(a),
        "image_folder": round(b),
    }
    print(json.dumps({**figure, "ratio": round(a / b, 2), "rounds": ROUNDS}))


if __name__ == "__main__":
    main()
