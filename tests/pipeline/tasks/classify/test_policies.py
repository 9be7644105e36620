"""Whatever a recipe may draw, an augmentation gives an image."""

import io
import json
import multiprocessing
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.datasets.synthetic import instances, painting
from pipeline.params import Params, load
from pipeline.shards.manifest import ClassEntry
from pipeline.tasks.classify import augment
from pipeline.tasks.classify.recipe import Recipe
from pipeline.tasks.classify.sampling import ClassifySampling
from pipeline.tasks.detect.sampling import DetectSampling
from pipeline.tasks.segment.sampling import SegmentSampling

from helpers import PROJECT  # isort: skip

DRAWS, PROCESSES = 200_000, 2
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8))
"""Too small for details, so that many can be drawn."""
LEVELS = (0, 1, 2, 4, 5, 9, 10, 15, 20, 100, 100_000)
LIMITS = ("", "-mmax20", "-mmax100", "-mmax100000")
SETS = ("", "-tweights", "-t3a", "-t3aw")


def policy(text: str) -> Any:
    recipe = Recipe.model_validate(
        {"image_size": 32, "eval_resize": 32, "augment": {"rand_augment": text}}
    )
    return augment._policy(recipe.augment, recipe.image_size)


@pytest.mark.parametrize("increasing", [0, 1])
def test_every_operation_takes_every_level_that_a_policy_can_name(increasing: int) -> None:
    for level, limit, operations in product(LEVELS, LIMITS, SETS):
        for operation in policy(f"rand-m{level}{limit}-inc{increasing}{operations}-p1").ops:
            assert operation(IMAGE).size == IMAGE.size


def test_no_bits_are_a_black_image_and_others_are_timms() -> None:
    from timm.data.auto_augment import posterize

    assert not np.asarray(augment._posterize(IMAGE, 0)).any()
    assert not np.asarray(augment._posterize(IMAGE, -3)).any()
    for bits in range(1, 9):
        assert augment._posterize(IMAGE, bits) == posterize(IMAGE, bits)


@pytest.mark.parametrize(
    "text", ["rand-m9.5", "rand-x3", "auto-m9", "rand-m", "", "rand-m9-n99", "augmix-m5"]
)
def test_a_policy_that_timm_cannot_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rand_augment"):
        Recipe.model_validate({"augment": {"rand_augment": text}})


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_a_sample_of_the_papers_recipes_raises_nothing(task: str) -> None:
    draw(task, 0, 200)


@pytest.mark.faults
@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_200_000_augmentations_of_the_papers_recipes_raise_nothing(task: str) -> None:
    share = DRAWS // PROCESSES
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        done = pool.starmap(
            draw, [(task, share * index, share * (index + 1)) for index in range(PROCESSES)]
        )
    assert sum(done) == DRAWS


def draw(task: str, first: int, last: int) -> int:
    """Draw augmentations by number, of the recipe of params/paper.yaml with all lengths an eighth;
    return how many.
    """
    torch.set_num_threads(1)
    sampling, samples = _sampling(task, load(PROJECT / "params" / "paper.yaml")), _samples(task)
    for number in range(first, last):
        raw = {**samples[number % len(samples)], "__key__": f"sample{number}"}
        sampling.train_sample(raw, seed=0, epoch=0)
    return last - first


def _sampling(task: str, params: Params) -> Any:
    """Return a task's sampling; every number that is drawn from stays the recipe's, lengths in
    pixels aside.
    """
    recipe: Any = getattr(params, task).recipe
    if task == "classify":
        return ClassifySampling(recipe.model_copy(update={"image_size": 28, "eval_resize": 32}))
    names = ("short_sides", "crop_short_sides", "crop", "resize")
    less = {name: tuple(side // 8 for side in getattr(recipe.augment, name, ())) for name in names}
    less = {name: sides for name, sides in less.items() if sides}
    if task == "detect":
        less["long_side"] = recipe.augment.long_side // 8
    recipe = recipe.model_copy(update={"augment": recipe.augment.model_copy(update=less)})
    if task == "segment":
        return SegmentSampling(recipe)
    return DetectSampling(
        recipe, [ClassEntry(id=number, name=name) for number, name in instances.CATEGORIES.items()]
    )


def _samples(task: str) -> list[dict[str, Any]]:
    """Draw scenes as a task's shards hold them: photographs' shapes, thin ones among them, and a
    crowd.
    """
    samples = []
    for index in range(12):
        canvas, rows = instances.draw(np.random.default_rng(index), 64, index)
        width = (64, 64, 40, 64, 3, 64, 17)[index % 7]
        image, labels = (
            canvas[:, :width],
            np.random.default_rng(index).integers(0, 5, (64, width), dtype=np.uint8),
        )
        rows = [row for row in rows if row["iscrowd"] == 0 or width == 64]
        record = {"annotations": rows, "width": width, "height": 64}
        samples.append(
            {
                "jpg": painting.jpeg(image),
                "png": _encoded(labels, "PNG"),
                "cls": b"0",
                "json": json.dumps(record).encode(),
            }
        )
    return samples


def _encoded(pixels: Any, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
