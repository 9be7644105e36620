"""Objects keep their label, box, mask and pixels together through every augmentation of
detection.
"""

import io
import json
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SHARED
from PIL import Image
from pydantic import ValidationError

from pipeline.datasets.images import check
from pipeline.shards.manifest import ClassEntry
from pipeline.tasks.dense.geometry import fitted
from pipeline.tasks.detect.recipe import Cascade, DetectAugment, DetectRecipe
from pipeline.tasks.detect.sampling import DetectSampling

COLOURS = [
    (230, 20, 20),
    (20, 230, 20),
    (20, 20, 230),
    (230, 230, 20),
    (20, 230, 230),
    (230, 20, 230),
]
CLASSES = [ClassEntry(id=7 * i + 3, name=f"colour {i}") for i in range(len(COLOURS))]
SMALL = DetectRecipe(
    augment=DetectAugment(
        short_sides=(96, 128, 160),
        long_side=266,
        crop_short_sides=(80, 100, 120),
        crop=(60, 110),
        pad_to=32,
    ),
    cascade=Cascade(test_sides=(160, 266)),
)


def annotation(
    category: int, left: float, top: float, width: float, height: float, **more: Any
) -> dict[str, Any]:
    right, bottom = left + width, top + height
    polygon = [left, top, right, top, right, bottom, left, bottom]
    box = [left, top, width, height]
    fields = {
        "id": 1,
        "category_id": CLASSES[category].id,
        "bbox": box,
        "area": width * height,
        "iscrowd": 0,
    }
    return {**fields, "segmentation": [polygon], **more}


def sample(image: Image.Image, annotations: list[dict[str, Any]], key: str = "a") -> dict[str, Any]:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95, subsampling=0)
    record = {"image_id": 5, "file_name": "a.jpg", "width": image.width, "height": image.height}
    return {
        "__key__": key,
        "jpg": data.getvalue(),
        "json": json.dumps({**record, "annotations": annotations}).encode(),
    }


def scene(key: str = "a", width: int = 200, height: int = 150) -> dict[str, Any]:
    """Rectangles of the six colours on black, in a grid; the left ones are taller."""
    image, annotations = Image.new("RGB", (width, height)), []
    for i, colour in enumerate(COLOURS):
        left, top = 10 + i % 3 * (width // 3), 10 + i // 3 * (height // 2)
        wide, high = 30 + 5 * i, 50 - 5 * (i % 3)
        image.paste(colour, (left, top, left + wide, top + high))
        annotations.append(annotation(i, left, top, wide, high))
    return sample(image, annotations, key)


@pytest.fixture
def sampling() -> DetectSampling:
    return DetectSampling(SMALL, CLASSES)


def test_every_object_has_its_own_colour_under_its_mask_and_in_its_box(
    sampling: DetectSampling,
) -> None:
    raw, lost = scene(), 0
    for epoch in range(60):
        made = sampling.train_sample(raw, 0, epoch)
        batch = sampling.collate([made])
        image, target = batch["images"][0].permute(1, 2, 0).numpy(), batch["targets"][0]
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"])
        lost += len(COLOURS) - len(target["labels"])
        assert len(set(target["labels"].tolist())) == len(target["labels"])
        height, width = batch["sizes"][0]
        for box, label, mask in zip(
            target["boxes"], target["labels"].tolist(), target["masks"].numpy(), strict=True
        ):
            assert 0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if min(len(rows), len(columns)) < 6:
                continue
            shown = np.median(image[mask > 0], axis=0)
            assert np.argmin(np.abs(shown - COLOURS).sum(axis=1)) == label
            edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert np.abs(box.numpy() - edges).max() <= 4  # two resizes, the second by up to 2.7
    assert 20 < lost < 250  # crops do empty boxes, and not all of them


def test_the_policies_are_drawn_as_the_recipe_says(sampling: DetectSampling) -> None:
    raw, draws = scene(), 400
    plain = [fitted((150, 200), (short, 266)) for short in SMALL.augment.short_sides]
    sizes, flipped = [], 0
    for epoch in range(draws):
        made = sampling.train_sample(raw, 1, epoch)
        sizes.append(tuple(made["image"].shape[1:]))
        if sizes[-1] in plain:
            left = made["target"]["boxes"][:, 0]
            flipped += bool(left[0] > left[2])
    assert all(sizes.count(size) / draws == pytest.approx(1 / 6, abs=0.06) for size in plain)
    whole = [size for size in sizes if size in plain]
    assert len(whole) / draws == pytest.approx(0.5, abs=0.08)
    assert flipped / len(whole) == pytest.approx(0.5, abs=0.1)
    shapes = [width / height for height, width in sizes if (height, width) not in plain]
    assert (
        min(shapes) < 0.75 and max(shapes) > 1.4
    )  # the two sides of a crop are drawn by themselves
    assert all(min(size) <= 160 and max(size) <= 266 for size in sizes)
    assert {min(size) for size in sizes if size not in plain} >= {96, 128}


def test_a_sample_depends_on_seed_epoch_and_key_alone(sampling: DetectSampling) -> None:
    first = sampling.train_sample(scene(), 1, 2)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    again = pickle.loads(pickle.dumps(sampling)).train_sample(scene(), 1, 2)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["target"]["boxes"], again["target"]["boxes"])


@pytest.mark.parametrize("change", ["epoch", "seed", "key"])
def test_samples_differ_by_seed_epoch_and_key(sampling: DetectSampling, change: str) -> None:
    ways = set()
    for i in range(8):
        raw = scene(str(i) if change == "key" else "a")
        made = sampling.train_sample(
            raw, i if change == "seed" else 0, i if change == "epoch" else 0
        )
        ways.add((*made["image"].shape, *made["target"]["boxes"].reshape(-1).tolist()))
    assert len(ways) > 4  # by chance, some may be alike: there are six ways without a crop


def test_crowds_and_slivers_are_no_targets() -> None:
    whole = SMALL.augment.model_copy(update={"crop_short_sides": (150,), "crop": (266, 266)})
    rows = [
        annotation(0, 10, 10, 30, 30),
        annotation(
            1, 60, 10, 30, 30, iscrowd=1, segmentation={"size": [150, 200], "counts": [0, 30000]}
        ),
        annotation(2, 100, 10, 0.6, 40),
        annotation(3, 120, 10, 40, 0.6),
        annotation(4, 150, 10, 20, 20, area=0),
        annotation(5, 100, 80, 1, 1),
    ]
    raw = sample(Image.new("RGB", (200, 150)), rows)
    sampling = DetectSampling(SMALL.model_copy(update={"augment": whole}), CLASSES)
    for epoch in range(8):
        target = sampling.collate([sampling.train_sample(raw, 0, epoch)])["targets"][0]
        assert target["labels"].tolist() == [0, 5]


def test_labels_and_category_ids_lead_to_each_other(sampling: DetectSampling) -> None:
    assert [sampling.labels[entry.id] for entry in CLASSES] == list(range(6))
    assert [sampling.categories[label] for label in range(6)] == [entry.id for entry in CLASSES]


def test_a_batch_is_padded_with_zeros_and_its_masks_with_it(sampling: DetectSampling) -> None:
    made = [sampling.train_sample(scene(), 0, epoch) for epoch in range(4)]
    batch = sampling.collate(made)
    count, channels, height, width = batch["images"].shape
    assert (count, channels, height % 32, width % 32) == (4, 3, 0, 0) and batch[
        "images"
    ].dtype == torch.uint8
    assert (
        height - max(h for h, _ in batch["sizes"]) < 32
        and width - max(w for _, w in batch["sizes"]) < 32
    )
    assert batch["keys"] == ["a"] * 4
    for image, (h, w), target, one in zip(
        batch["images"], batch["sizes"], batch["targets"], made, strict=True
    ):
        assert torch.equal(image[:, :h, :w], one["image"])
        assert not image[:, h:].any() and not image[:, :, w:].any()
        count = len(one["target"]["labels"])
        assert target["boxes"].shape == (count, 4) and target["boxes"].dtype == torch.float32
        assert target["labels"].shape == (count,) and target["labels"].dtype == torch.int64
        assert (
            target["masks"].shape == (count, height, width) and target["masks"].dtype == torch.uint8
        )
        assert not target["masks"][:, h:].any() and not target["masks"][:, :, w:].any()
        alone = sampling.collate([one])["targets"][0]["masks"]
        assert (
            torch.equal(target["masks"][:, :h, :w], alone[:, :h, :w])
            and alone.any() == target["masks"].any()
        )


def test_evaluation_sees_the_whole_image_and_the_record_as_it_is(sampling: DetectSampling) -> None:
    raw = [scene("a"), scene("b", 150, 200)]
    batch = sampling.collate([sampling.eval_sample(one) for one in raw])
    assert batch["records"] == [json.loads(one["json"]) for one in raw]
    assert batch["sizes"] == [(160, 213), (213, 160)] and batch["images"].shape == (2, 3, 224, 224)
    assert "targets" not in batch


def many(count: int) -> list[dict[str, Any]]:
    return [annotation(i % 6, i % 25 * 7, i // 25 * 7, 6, 6) for i in range(count)]


@pytest.mark.parametrize(
    ("size", "annotations", "objects"),
    [
        ((200, 150), [], {0}),
        ((200, 150), [annotation(0, 100, 80, 1, 1)], {0, 1}),
        ((200, 150), many(500), set(range(501))),
        ((5000, 50), [annotation(0, 4000, 10, 900, 30)], {0, 1}),
        ((50, 5000), [annotation(0, 10, 4000, 30, 900)], {0, 1}),
        ((3, 2), [annotation(0, 0, 0, 3, 2)], {0, 1}),
        ((200, 150), [annotation(0, 190, 140, 30, 30)], {0, 1}),  # over the edge
    ],
)
def test_odd_images_are_samples(
    sampling: DetectSampling,
    size: tuple[int, int],
    annotations: list[dict[str, Any]],
    objects: set[int],
) -> None:
    raw, seen = sample(Image.new("RGB", size, "white"), annotations), set()
    for epoch in range(12):
        batch = sampling.collate(
            [sampling.train_sample(raw, 0, epoch), sampling.train_sample(scene(), 0, epoch)]
        )
        target = batch["targets"][0]
        seen.add(len(target["labels"]))
        assert target["boxes"].shape == (len(target["labels"]), 4) and len(target["masks"]) == len(
            target["labels"]
        )
        assert batch["images"][0].amax() > 250
    assert seen <= objects and max(seen) == len(annotations)
    evaluated = sampling.collate([sampling.eval_sample(raw)])
    assert evaluated["images"].shape[2] <= 288 and evaluated["images"].shape[3] <= 288


def test_images_of_every_mode_that_shards_mend_are_samples(sampling: DetectSampling) -> None:
    deep = Image.fromarray(np.full((40, 60), 40000, dtype=np.uint16))
    grey, cmyk = Image.new("L", (60, 40), 155), Image.new("CMYK", (60, 40))
    for image, suffix in [(grey, "JPEG"), (cmyk, "JPEG"), (deep, "PNG")]:
        data = io.BytesIO()
        image.save(data, suffix)
        raw = {**scene(), "jpg": check(f"a.{suffix}", data.getvalue(), 10**6).data}
        raw["json"] = json.dumps({"annotations": []}).encode()
        pixels = sampling.train_sample(raw, 0, 0)["image"]
        assert (
            pixels.shape[0] == 3 and int(pixels.amax()) >= 150 and torch.equal(pixels[0], pixels[2])
        )


def test_real_photographs() -> None:
    source = SHARED / "real" / "coco"
    if not source.is_dir():
        pytest.skip("no real photographs here")
    told = json.loads((source / "annotations" / "instances_train2017.json").read_text())
    sampling = DetectSampling(
        DetectRecipe(), [ClassEntry(id=c["id"], name=c["name"]) for c in told["categories"]]
    )
    found = 0
    for image in told["images"][:24]:
        rows = [row for row in told["annotations"] if row["image_id"] == image["id"]]
        data = (source / "train2017" / image["file_name"]).read_bytes()
        raw = {
            "__key__": image["file_name"],
            "jpg": data,
            "json": json.dumps({"annotations": rows}).encode(),
        }
        batch = sampling.collate([sampling.train_sample(raw, 0, 0)])
        target, (height, width) = batch["targets"][0], batch["sizes"][0]
        assert min(height, width) <= 800 and max(height, width) <= 1333
        for box, mask in zip(target["boxes"].numpy(), target["masks"].numpy(), strict=True):
            inside = np.zeros_like(mask)
            left, top = np.floor(box[:2] - 6).clip(0).astype(int)
            right, bottom = np.ceil(box[2:] + 6).astype(int)
            inside[top:bottom, left:right] = 1
            assert not (mask & ~inside).any()
            found += bool(mask.any())
    assert found > 100


@pytest.mark.parametrize(
    "wrong", [{"crop": (600, 384)}, {"short_sides": ()}, {"crop_short_sides": ()}]
)
def test_augmentation_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DetectAugment(**wrong)


def test_an_object_without_a_mask_keeps_its_box(sampling: DetectSampling) -> None:
    raw = scene()
    record = json.loads(raw["json"])
    for row in record["annotations"][::2]:
        row["segmentation"] = []
    bare = {**raw, "json": json.dumps(record).encode()}
    for epoch in range(8):
        plain, target = (
            sampling.collate([sampling.train_sample(each, 0, epoch)])["targets"][0]
            for each in (raw, bare)
        )
        assert plain["masked"].all() and plain.keys() == target.keys()
        assert (plain["boxes"] == target["boxes"]).all() and (
            plain["labels"] == target["labels"]
        ).all()
        assert target["masked"].tolist() == [label % 2 == 1 for label in target["labels"].tolist()]
        assert not target["masks"][~target["masked"]].any()
        assert (target["masks"][target["masked"]] == plain["masks"][target["masked"]]).all()
