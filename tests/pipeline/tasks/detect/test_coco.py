"""All of COCO's numbers equal those of pycocotools, however ranks share the images."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.shards.manifest import ClassEntry
from pipeline.tasks.detect import coco
from pipeline.tasks.detect.coco import CocoEvaluator, results_format, write_results

HEIGHT, WIDTH = 200, 260
CLASSES = [
    ClassEntry(id=i, name=name)
    for i, name in ((1, "cat"), (3, "dog"), (7, "owl"), (44, "elk"), (90, "yak"))
]
CROWDS_ONLY, NEVER_THERE = 3, 4
Case = tuple[dict[str, Any], dict[str, Any]]


def polygon(box: np.ndarray) -> list[float]:
    left, top, wide, high = box.tolist()
    angles = np.arange(9) * 2 * np.pi / 9
    corners = np.stack(
        [left + wide / 2 * (1 + np.cos(angles)), top + high / 2 * (1 + np.sin(angles))], axis=1
    )
    return np.round(corners, 2).ravel().tolist()


def compressed(box: np.ndarray) -> dict[str, Any]:
    return coco_mask.frPyObjects([polygon(box)], HEIGHT, WIDTH)[0]


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    size = np.exp(rng.uniform(1.5, 5.2, (count, 2)))
    return np.round(
        np.concatenate([rng.random((count, 2)) * [WIDTH, HEIGHT] * 0.6, size], axis=1), 2
    )


def annotation(
    rng: np.random.Generator, number: int, box: np.ndarray, label: int, crowd: bool
) -> dict[str, Any]:
    segmentation: Any = [polygon(box)]
    if crowd:
        runs = coco_mask.decode(compressed(box)).ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], runs]))).tolist()
        lengths = np.diff([0, *edges, runs.size]).tolist()
        text = compressed(box)["counts"].decode()
        segmentation = {"size": [HEIGHT, WIDTH], "counts": lengths if number % 2 else text}
    return {
        "id": number,
        "category_id": CLASSES[label].id,
        "iscrowd": int(crowd),
        "bbox": box.tolist(),
        "area": round(float(box[2] * box[3]) * rng.uniform(0.6, 0.9), 2),
        "segmentation": segmentation,
    }


def detections(
    rng: np.random.Generator, truth: np.ndarray, labels: np.ndarray, count: int
) -> dict[str, Any]:
    found, named = boxes(rng, count), rng.integers(0, len(CLASSES), count)
    if len(truth) and count:
        near = rng.integers(0, len(truth), count // 2)
        found[: count // 2] = (
            truth[near] + rng.normal(0, 0.06, (count // 2, 4)) * truth[near][:, [2, 3, 2, 3]]
        )
        named[: count // 2] = labels[near]
    found[:, 2:] = found[:, 2:].clip(2)
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1).astype(np.float32)
    scores = np.round(rng.random(count), 1).astype(np.float32)  # many are equal
    return {
        "boxes": torch.from_numpy(corners),
        "scores": torch.from_numpy(scores),
        "labels": torch.from_numpy(named),
        "masks": [compressed(box) for box in found],
    }


def cases(count: int = 40) -> list[Case]:
    """Return outputs and records: empty images, images without detections, crowds, hundreds of
    detections.
    """
    rng, made, number = np.random.default_rng(3), [], 0
    for index in range(count):
        many = 0 if index % 7 == 3 else int(rng.integers(1, 9))
        truth, labels = boxes(rng, many), rng.integers(0, NEVER_THERE, many)
        annotations = []
        for box, label in zip(truth, labels.tolist(), strict=True):
            number += 1
            crowd = label == CROWDS_ONLY or rng.random() < 0.15
            annotations.append(annotation(rng, number, box, label, crowd))
        seen = 0 if index % 5 == 4 else 700 if index == 2 else int(rng.integers(0, 40))
        record = {
            "image_id": 1000 - 13 * index,
            "width": WIDTH,
            "height": HEIGHT,
            "annotations": annotations,
        }
        made.append((detections(rng, truth, labels, seen), record))
    assert (
        max(
            np.bincount(output["labels"].numpy()).max()
            for output, _ in made
            if len(output["labels"])
        )
        > 100
    )
    return made


@pytest.fixture(scope="module")
def some() -> list[Case]:
    return cases()


def official(some: Sequence[Case], kind: str) -> tuple[np.ndarray, dict[str, float]]:
    """Return pycocotools' twelve numbers and the average precision of each class that it gives
    one.
    """
    truth = COCO()
    truth.dataset = {
        "images": [
            {"id": r["image_id"], "width": r["width"], "height": r["height"]} for _, r in some
        ],
        "annotations": [
            {**row, "image_id": r["image_id"]} for _, r in some for row in r["annotations"]
        ],
        "categories": [entry.model_dump() for entry in CLASSES],
    }
    truth.createIndex()
    results = []
    for output, record in some:
        for box, score, label, runs in zip(
            *(output[k] for k in ("boxes", "scores", "labels", "masks")), strict=True
        ):
            left, top, right, bottom = box.tolist()
            shape = (
                {"bbox": [left, top, right - left, bottom - top]}
                if kind == "bbox"
                else {"segmentation": runs}
            )
            row = {
                "image_id": record["image_id"],
                "category_id": CLASSES[int(label)].id,
                "score": float(score),
            }
            results.append({**row, **shape})
    run = COCOeval(truth, truth.loadRes(results), kind)
    run.evaluate()
    run.accumulate()
    run.summarize()
    each = {}
    for position, category in enumerate(run.params.catIds):
        precision = run.eval["precision"][:, :, position, 0, 2]
        if (precision > -1).any():
            each[next(e.name for e in CLASSES if e.id == category)] = (
                100 * precision[precision > -1].mean()
            )
    return 100 * run.stats, each


def states(shares: Sequence[Sequence[Case]]) -> list[Any]:
    """Return what ranks bring together: each its share, a few images a batch, through pickle."""
    made = []
    for share in shares:
        evaluator = CocoEvaluator(CLASSES)
        for start in range(0, len(share), 3):
            part = share[start : start + 3]
            evaluator.update(
                [output for output, _ in part], {"records": [record for _, record in part]}
            )
        made.append(pickle.loads(pickle.dumps(evaluator.state())))
    return made


def test_all_numbers_are_those_of_pycocotools(some: list[Case]) -> None:
    result = CocoEvaluator(CLASSES).result(states([some]))
    for prefix, kind in coco.KINDS.items():
        numbers, each = official(some, kind)
        assert (numbers > 0).all() and len(each) == 3  # every number is at stake
        names = [f"{prefix}_{name}" for name in coco.METRICS]
        assert [result.metrics[name] for name in names] == pytest.approx(numbers.tolist(), abs=1e-6)
        assert {
            name: row[f"{prefix}_ap"] for name, row in result.per_class.items()
        } == pytest.approx(each, abs=1e-6)
    assert len(result.metrics) == 24


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_may_share_the_images_in_any_way(some: list[Case], world: int) -> None:
    whole = states([some])
    order = np.random.default_rng(world).permutation(len(some)).tolist()
    shared = states([*([some[i] for i in order[rank::world]] for rank in range(world)), []])
    assert CocoEvaluator(CLASSES).result(shared) == CocoEvaluator(CLASSES).result(whole)
    assert results_format(shared, CLASSES) == results_format(whole, CLASSES)


def test_an_unmatched_image_counts(some: list[Case]) -> None:
    """Dropping what has no detections, or no annotations, changes the numbers that the test above
    compares.
    """
    whole = CocoEvaluator(CLASSES).result(states([some])).metrics
    for fewer in (
        [c for c in some if len(c[0]["scores"])],
        [c for c in some if c[1]["annotations"]],
    ):
        assert (
            CocoEvaluator(CLASSES).result(states([fewer])).metrics["box_ap"]
            > whole["box_ap"] + 0.01
        )


def test_what_has_no_ground_truth_has_no_number() -> None:
    large = np.array([10.0, 10.0, 150.0, 150.0])
    record = {"image_id": 5, "width": WIDTH, "height": HEIGHT}
    one = annotation(np.random.default_rng(0), 0, large, 0, crowd=False)  # its id is 0
    output = {
        "boxes": torch.tensor([[10.0, 10, 160, 160]]),
        "scores": torch.tensor([0.5]),
        "labels": torch.tensor([0]),
    }
    found = CocoEvaluator(CLASSES).result(states([[(output, {**record, "annotations": [one]})]]))
    assert found.per_class == {"cat": {"box_ap": pytest.approx(100)}}
    assert found.metrics == pytest.approx(
        dict.fromkeys(
            [f"box_{name}" for name in coco.METRICS if not name.endswith(("small", "medium"))], 100
        )
    )
    nothing = CocoEvaluator(CLASSES).result(states([[(output, {**record, "annotations": []})], []]))
    assert (nothing.metrics, nothing.per_class) == ({}, {})
    assert CocoEvaluator(CLASSES).result(states([[]])).metrics == {}


def test_the_results_file_holds_what_was_evaluated(some: list[Case], tmp_path: Path) -> None:
    path = tmp_path / "detections.json"
    write_results(path, states([some[::2], some[1::2]]), CLASSES)
    rows = json.loads(path.read_text())
    assert len(rows) == sum(len(output["scores"]) for output, _ in some)
    keys = [(row["image_id"], -row["score"]) for row in rows]
    assert keys == sorted(keys)
    again = {
        record["image_id"]: [row for row in rows if row["image_id"] == record["image_id"]]
        for _, record in some
    }
    for output, record in some:
        found = again[record["image_id"]]
        falling = [-float(score) for score in output["scores"]]
        order = sorted(range(len(found)), key=falling.__getitem__)
        assert [CLASSES[int(output["labels"][i])].id for i in order] == [
            row["category_id"] for row in found
        ]
        assert [output["masks"][i]["counts"].decode() for i in order] == [
            r["segmentation"]["counts"] for r in found
        ]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in found)]
        assert np.allclose(
            np.array(corners).reshape(-1, 4), output["boxes"].numpy()[order], atol=1e-4
        )


def test_outputs_that_do_not_fit_are_refused(some: list[Case]) -> None:
    output, record = some[0]
    assert len(output["scores"]) > 1
    wrong = [
        (
            {"labels": torch.full_like(output["labels"], len(CLASSES))},
            "labels should lie from 0 to 4",
        ),
        ({"labels": torch.full_like(output["labels"], -1)}, "labels should lie from 0 to 4"),
        ({"scores": output["scores"] * float("nan")}, "not finite"),
        ({"boxes": output["boxes"] / 0}, "not finite"),
        ({"boxes": output["boxes"][1:]}, "as many"),
        ({"masks": output["masks"][1:]}, "as many"),
        (
            {"masks": [{**mask, "size": [WIDTH, HEIGHT]} for mask in output["masks"]]},
            "image's size",
        ),
    ]
    for change, words in wrong:
        with pytest.raises(ValueError, match=words):
            CocoEvaluator(CLASSES).update([{**output, **change}], {"records": [record]})
    with pytest.raises(ValueError, match="longer"):
        CocoEvaluator(CLASSES).update([], {"records": [record]})
    with pytest.raises(ValueError, match="image 1000 was evaluated more than once"):
        CocoEvaluator(CLASSES).result(states([some[:1], some[:1]]))
    bare = {name: value for name, value in output.items() if name != "masks"}
    with pytest.raises(ValueError, match="masks for some images and none for others"):
        CocoEvaluator(CLASSES).result(states([[(bare, record)], some[1:2]]))


def test_names_that_repeat_keep_a_row_each(some: list[Case]) -> None:
    same = [
        entry.model_copy(update={"name": "cat"}) if entry.id in (1, 3) else entry
        for entry in CLASSES
    ]
    assert set(CocoEvaluator(same).result(states([some])).per_class) == {
        "cat (class 0)",
        "cat (class 1)",
        "owl",
    }


def test_nothing_is_printed(some: list[Case], capfd: pytest.CaptureFixture[str]) -> None:
    CocoEvaluator(CLASSES).result(states([some[:6]]))
    assert capfd.readouterr() == ("", "")


def test_an_object_without_a_mask_is_judged_by_its_box_alone(some: list[Case]) -> None:
    """Boxes count as if it had one, masks as if it were not there; labels without any mask have no
    mask number.
    """
    bare, left_out, evaluator = [], [], CocoEvaluator(CLASSES)
    for number, (output, record) in enumerate(some):
        rows = record["annotations"]
        without = [
            i
            for i in range(len(rows))
            if (number + i) % 3 == 0 or rows[i]["category_id"] == CLASSES[0].id
        ]
        changed = [
            {**row, "segmentation": []} if i in without else row for i, row in enumerate(rows)
        ]
        bare.append((output, {**record, "annotations": changed}))
        kept = [row for i, row in enumerate(rows) if i not in without]
        left_out.append((output, {**record, "annotations": kept}))
    for output, record in bare:
        evaluator.update([output], {"records": [record]})
    result = evaluator.result([evaluator.state()])
    for kind, truth in (("box", some), ("mask", left_out)):
        expected, _ = official(truth, coco.KINDS[kind])
        names = [f"{kind}_{name}" for name in coco.METRICS]
        np.testing.assert_allclose([result.metrics[name] for name in names], expected, atol=1e-9)
    assert "mask_ap" not in result.per_class["cat"] and result.per_class["cat"]["box_ap"] > 0


def test_without_any_mask_there_are_numbers_for_boxes_alone(some: list[Case]) -> None:
    evaluator = CocoEvaluator(CLASSES)
    for output, record in some[:6]:
        rows = [{**row, "segmentation": []} for row in record["annotations"]]
        evaluator.update([output], {"records": [{**record, "annotations": rows}]})
    metrics = evaluator.result([evaluator.state()]).metrics
    assert metrics["box_ap"] > 0 and not any(name.startswith("mask") for name in metrics)
