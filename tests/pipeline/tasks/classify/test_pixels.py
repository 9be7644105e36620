"""The pixels of classification are those of the official recipe's own transforms, bit for bit."""

import io
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torchvision import transforms

from pipeline.core.pixels.jpeg import array, strict_padded
from pipeline.loading.images import normalise
from pipeline.loading.randomness import seed_libraries
from pipeline.tasks.classify.augment import eval_transform, train_transform
from pipeline.tasks.classify.recipe import Augment, Recipe
from pipeline.tasks.classify.sampling import ClassifySampling

PHOTOGRAPHS = 100


def photographs() -> Iterator[Image.Image]:
    """Yield noise of many odd sizes: each pixel that is read too much, or moved, shows."""
    for number in range(PHOTOGRAPHS):
        draw = np.random.default_rng(number)
        height, width = draw.integers(24, 320, 2)
        yield Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("short", "size"), [(73, 64), (64, 61)])
def test_evaluation_is_torchvisions_resize_and_centre_crop(
    short: int, size: int, interpolation: str
) -> None:
    augment = Augment.model_validate({"interpolation": interpolation})
    ours = eval_transform(Recipe(image_size=size, eval_resize=short, augment=augment))
    mode = transforms.InterpolationMode(interpolation)
    theirs = transforms.Compose([transforms.Resize(short, mode), transforms.CenterCrop(size)])
    for number, image in enumerate(photographs()):
        assert np.array_equal(ours(array(image, 4)), np.asarray(theirs(image))), (
            number,
            image.size,
        )


def test_normalised_pixels_are_torchvisions_to_the_last_bit() -> None:
    theirs = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)]
    )
    for image in itertools.islice(photographs(), 10):
        ours = normalise(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])
        assert torch.equal(ours[0], theirs(image))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rand_augment": "rand-m9-t3a"},
        {"rand_augment": None},
        {"rand_augment": None, "color_jitter": 0.0, "interpolation": "bilinear", "flip": 0.0},
    ],
    ids=["the paper's", "three operations", "jitter", "plain"],
)
def test_training_is_timms_transform_with_the_same_draws(changes: dict) -> None:
    augment = Augment(**changes)
    ours = train_transform(Recipe(image_size=64, eval_resize=64, augment=augment))
    theirs = create_transform(
        64,
        is_training=True,
        scale=augment.crop_scale,
        ratio=augment.crop_ratio,
        hflip=augment.flip,
        color_jitter=augment.color_jitter or None,
        auto_augment=augment.rand_augment,
        interpolation=augment.interpolation,
        normalize=False,
    )
    for number, image in enumerate(photographs()):
        seed_libraries("test", number)
        pixels = ours(array(image, 4))
        seed_libraries("test", number)
        assert np.array_equal(pixels, theirs(image).permute(1, 2, 0).numpy()), (number, image.size)


def test_a_file_that_only_pillow_reads_is_a_sample_like_any_other() -> None:
    recipe = Recipe(image_size=32, eval_resize=32, augment=Augment(rand_augment=None))
    file = io.BytesIO()
    next(photographs()).save(file, "JPEG")
    sound = file.getvalue()
    stray = sound[:-2] + bytes(range(20)) + sound[-2:]
    assert strict_padded(sound) is not None
    assert strict_padded(stray) is None
    sampling = ClassifySampling(recipe)
    raws = [{"__key__": "a", "jpg": data, "cls": b"1"} for data in (sound, stray)]
    for epoch in range(3):
        mine, same = (sampling.train_sample(raw, 0, epoch)["image"] for raw in raws)
        assert np.array_equal(mine, same)
    mine, same = (sampling.eval_sample(raw)["image"] for raw in raws)
    assert np.array_equal(mine, same)
