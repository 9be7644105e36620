"""Labels stay on their pixels through every augmentation of segmentation."""

import io
import os
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SHARED
from PIL import Image
from pydantic import ValidationError

from pipeline.tasks.segment.recipe import SegmentAugment, SegmentRecipe, UPerNet
from pipeline.tasks.segment.sampling import SegmentSampling, is_varied, read_labels

COLOURS = np.array(
    [(0, 0, 0), (230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20)], dtype=np.uint8
)
PLAIN = SegmentAugment(resize=(256, 64), crop=(64, 64), photometric=False)


def sample(mask: np.ndarray, key: str = "a", image: np.ndarray | None = None) -> dict[str, Any]:
    """A mask, and an image in the colours of its values."""
    jpeg, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(COLOURS[mask] if image is None else image).save(
        jpeg, "JPEG", quality=95, subsampling=0
    )
    Image.fromarray(mask.astype(np.uint8)).save(png, "PNG")
    return {"__key__": key, "jpg": jpeg.getvalue(), "png": png.getvalue()}


def quarters(height: int = 70, width: int = 100) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[: height // 2, : width // 2], mask[: height // 2, width // 2 :] = 1, 2
    mask[height // 2 :, : width // 2], mask[height // 2 :, width // 2 :] = 3, 4
    mask[:6] = 0
    return mask


def sampling(**changes: Any) -> SegmentSampling:
    head = UPerNet(test_sides=(256, 64))
    return SegmentSampling(SegmentRecipe(augment=PLAIN.model_copy(update=changes), upernet=head))


def test_zero_is_ignored_and_the_others_count_from_zero() -> None:
    png = io.BytesIO()
    Image.fromarray(np.array([[0, 1, 2], [150, 255, 0]], dtype=np.uint8)).save(png, "PNG")
    assert read_labels(png.getvalue()).tolist() == [[255, 0, 1], [149, 254, 255]]
    palette = Image.fromarray(np.array([[0, 2, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([255, 255, 255, 9, 9, 9, 200, 0, 0])
    png = io.BytesIO()
    palette.save(png, "PNG")
    assert read_labels(png.getvalue()).tolist() == [[255, 1, 0]]  # indices, not colours


def test_labels_lie_on_pixels_of_their_colour() -> None:
    made, seen, flipped = sampling(), set(), 0
    for epoch in range(60):
        one = made.train_sample(sample(quarters()), 0, epoch)
        image, labels = one["image"].permute(1, 2, 0).numpy(), one["labels"]
        assert image.shape[:2] == labels.shape and max(labels.shape) <= 64
        wrong = np.abs(image.astype(int) - COLOURS[(labels + np.uint8(1))]).max(axis=-1) > 60
        assert wrong.mean() < 0.1  # only where two colours meet
        seen |= set(np.unique(labels).tolist())
        where = {
            label: np.argwhere(labels == label)[:, 1].mean()
            for label in (0, 1)
            if (labels == label).any()
        }
        flipped += len(where) == 2 and where[0] > where[1]
    assert seen == {0, 1, 2, 3, 255} and 12 < flipped < 48


def test_the_image_is_rescaled_over_the_whole_range() -> None:
    board = (np.indices((64, 96)).sum(axis=0) // 16 % 2 + 1).astype(np.uint8)
    heights = [
        sampling(crop=(999, 999)).train_sample(sample(board), 0, epoch)["image"].shape[1]
        for epoch in range(80)
    ]
    assert 32 <= min(heights) < 38 and 120 < max(heights) <= 128
    assert np.mean(heights) == pytest.approx(80, abs=8)


def test_no_class_fills_more_of_a_crop_than_the_ratio() -> None:
    mask = np.full((64, 256), 1, dtype=np.uint8)
    mask[:, 200:] = 2
    changes = {"crop": (32, 32), "ratio": (1.0, 1.0)}

    def too_much(ratio: float) -> float:
        made, raw = sampling(**changes, category_ratio=ratio), sample(mask)
        labels = [made.train_sample(raw, 0, epoch)["labels"] for epoch in range(200)]
        return float(np.mean([max(np.mean(one == 0), np.mean(one == 1)) >= 0.75 for one in labels]))

    # 15 of the 225 places have less than 3/4 of either class: eleven draws miss them all with
    # chance 0.47.
    assert too_much(1.0) == pytest.approx(1 - 15 / 225, abs=0.05)
    assert too_much(0.75) == pytest.approx(0.47, abs=0.1)


def test_what_counts_as_varied() -> None:
    labels = np.zeros((10, 10), dtype=np.uint8)
    assert not is_varied(labels, 1.0)  # one class is never varied
    labels[:3] = 4
    assert is_varied(labels, 0.75) and not is_varied(labels, 0.7)
    labels[:] = 255
    assert not is_varied(labels, 0.75)
    labels[0, 0], labels[0, 1] = 1, 2
    assert is_varied(labels, 0.75)  # what nobody labelled does not count


@pytest.mark.parametrize("photometric", [False, True])
def test_a_sample_depends_on_seed_epoch_and_key_alone(photometric: bool) -> None:
    made = sampling(photometric=photometric)
    first = made.train_sample(sample(quarters()), 1, 2)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    again = pickle.loads(pickle.dumps(made)).train_sample(sample(quarters()), 1, 2)
    assert torch.equal(first["image"], again["image"]) and np.array_equal(
        first["labels"], again["labels"]
    )
    for key, seed, epoch in [("a", 1, 3), ("a", 2, 2), ("b", 1, 2)]:
        other = made.train_sample(sample(quarters(), key), seed, epoch)["image"]
        assert other.shape != first["image"].shape or not torch.equal(other, first["image"])


def test_photometric_distortion_changes_the_image_and_no_label() -> None:
    raw, plain, changed = sample(quarters()), sampling(), sampling(photometric=True)
    pairs = [
        (plain.train_sample(raw, 0, epoch), changed.train_sample(raw, 0, epoch))
        for epoch in range(20)
    ]
    assert all(np.array_equal(a["labels"], b["labels"]) for a, b in pairs)
    assert sum(torch.equal(a["image"], b["image"]) for a, b in pairs) < 6


def test_a_batch_has_the_size_of_the_crop_and_ignores_what_is_padded() -> None:
    made = sampling(ratio=(0.5, 0.5))  # 32 rows, 46 columns
    samples = [made.train_sample(sample(quarters()), 0, epoch) for epoch in range(3)]
    batch = made.collate(samples)
    assert batch["images"].shape == (3, 3, 64, 64) and batch["images"].dtype == torch.uint8
    assert batch["labels"].shape == (3, 64, 64) and batch["labels"].dtype == torch.int64
    assert batch["sizes"] == [(32, 46)] * 3 and batch["keys"] == ["a"] * 3
    assert (batch["labels"][:, 32:] == 255).all() and (batch["labels"][:, :, 46:] == 255).all()
    assert not batch["images"][:, :, 32:].any() and not batch["images"][..., 46:].any()
    for row, one in zip(batch["labels"], samples, strict=True):
        assert np.array_equal(row[:32, :46].numpy(), one["labels"])


def test_evaluation_sees_the_whole_image_and_labels_of_the_original() -> None:
    made, masks = sampling(), [quarters(), quarters(140, 90)]
    batch = made.collate([made.eval_sample(sample(mask)) for mask in masks])
    assert [labels.tolist() for labels in batch["labels"]] == [
        (mask - np.uint8(1)).tolist() for mask in masks
    ]
    assert batch["sizes"] == [(64, 91), (100, 64)] and batch["images"].shape == (2, 3, 100, 91)
    (view,) = batch["views"]
    assert view["images"] is batch["images"] and not view["flipped"]


def test_scales_and_mirror_images_of_an_evaluation() -> None:
    head = UPerNet(test_sides=(256, 64), test_scales=(1.0, 0.5, 1.75), test_flip=True)
    made = SegmentSampling(SegmentRecipe(augment=PLAIN, upernet=head))
    batch = made.collate(
        [made.eval_sample(sample(quarters())), made.eval_sample(sample(quarters(90, 60)))]
    )
    found = [(view["flipped"], view["sizes"]) for view in batch["views"]]
    sizes = [[(64, 91), (96, 64)], [(32, 46), (48, 32)], [(112, 160), (168, 112)]]
    assert found == [(flipped, size) for size in sizes for flipped in (False, True)]
    for plain, mirrored in zip(batch["views"][::2], batch["views"][1::2], strict=True):
        for a, b, (height, width) in zip(
            plain["images"], mirrored["images"], plain["sizes"], strict=True
        ):
            part, other = a[:, :height, :width].int(), b[:, :height, :width].flip(-1).int()
            assert (part - other).abs().max() <= 1 and part.any()
            assert not b[:, height:].any() and not b[:, :, width:].any()


ODD = {
    "all ignored": np.zeros((70, 100), dtype=np.uint8),
    "one class": np.full((70, 100), 3, dtype=np.uint8),
    "long": np.tile(np.array([[1], [2]], dtype=np.uint8), (25, 5000)),
    "high": np.tile(np.array([[1, 2]], dtype=np.uint8), (5000, 25)),
    "smaller than the crop": quarters(12, 9),
    "one pixel": np.full((1, 1), 2, dtype=np.uint8),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_images_are_samples(name: str) -> None:
    made, mask = sampling(photometric=True), ODD[name]
    for epoch in range(6):
        batch = made.collate([made.train_sample(sample(mask), 0, epoch)])
        assert batch["images"].shape == (1, 3, 64, 64)
        height, width = batch["sizes"][0]
        own = set(torch.unique(batch["labels"][0, :height, :width]).tolist())
        assert own and own <= set((mask - np.uint8(1)).reshape(-1).tolist())
    evaluated = made.collate([made.eval_sample(sample(mask))])
    assert evaluated["labels"][0].shape == mask.shape and min(evaluated["sizes"][0]) >= 1


def test_real_photographs() -> None:
    source = SHARED / "real" / "ade"
    if not source.is_dir():
        pytest.skip("no real photographs here")
    made, seen = SegmentSampling(SegmentRecipe()), set()
    for name in sorted(os.listdir(source / "annotations" / "training"))[:16]:
        png = (source / "annotations" / "training" / name).read_bytes()
        jpeg = (source / "images" / "training" / f"{name[:-4]}.jpg").read_bytes()
        raw = {"__key__": name, "jpg": jpeg, "png": png}
        batch = made.collate([made.train_sample(raw, 0, 0)])
        assert batch["images"].shape == (1, 3, 512, 512)
        values = set(np.unique(np.asarray(Image.open(io.BytesIO(png)))).tolist())
        labels = set(torch.unique(batch["labels"]).tolist())
        assert labels <= {(value - 1) % 256 for value in values} | {255}
        seen |= labels
        view = made.eval_sample(raw)["views"][0][0]
        assert min(view.shape[1:]) == 512 or max(view.shape[1:]) == 2048
    assert len(seen) > 10


@pytest.mark.parametrize("ratio", [(2.0, 0.5), (0.0, 1.0)])
def test_scales_that_cannot_be_are_refused(ratio: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="ratio needs 0 < low <= high"):
        SegmentAugment(ratio=ratio)


def test_an_evaluation_needs_a_scale() -> None:
    for scales in ((), (0.0,)):
        with pytest.raises(ValidationError):
            UPerNet(test_scales=scales)
