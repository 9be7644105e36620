"""Mean IoU equals what plain NumPy counts pixel by pixel, on any number of ranks."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipeline.tasks.base import Result
from pipeline.tasks.segment.miou import IGNORED, MeanIoU

CLASSES = ["sky", "sea", "sand", "kite", "fog", "ufo"]
NEVER, ONLY_PREDICTED = 4, 5
Maps = list[tuple[np.ndarray, np.ndarray]]


def maps() -> Maps:
    """Return predictions and ground truth of different sizes, some pixels or all of an image
    ignored.
    """
    rng, made = np.random.default_rng(0), []
    for index in range(7):
        shape = (20 + index, 31 - index)
        label = rng.integers(0, 4, shape).astype(np.uint8)
        predicted = np.where(rng.random(shape) < 0.6, label, rng.integers(0, 4, shape))
        predicted[rng.random(shape) < 0.02] = ONLY_PREDICTED
        label[rng.random(shape) < 0.1] = IGNORED
        if index == 3:
            label[:] = IGNORED
        made.append((predicted, label))
    return made


def result(shares: Sequence[Maps]) -> Result:
    states = []
    for share in shares:
        evaluator = MeanIoU(CLASSES)
        for predicted, label in share:
            evaluator.update([torch.from_numpy(predicted)], {"labels": [torch.from_numpy(label)]})
        states.append(evaluator.state())
    return MeanIoU(CLASSES).result(states)


def test_equals_plain_counting() -> None:
    predicted, label = (np.concatenate([pair[i].ravel() for pair in maps()]) for i in (0, 1))
    predicted, label = predicted[label != IGNORED], label[label != IGNORED]
    iou, accuracy = {}, {}
    for index, name in enumerate(CLASSES):
        both = np.sum((predicted == index) & (label == index))
        if either := np.sum((predicted == index) | (label == index)):
            iou[name] = 100 * both / either
        if there := np.sum(label == index):
            accuracy[name] = 100 * both / there
    assert iou["ufo"] == 0 and "fog" not in iou and len(accuracy) == 4
    found = result([maps()])
    assert found.metrics == pytest.approx(
        {
            "miou": np.mean(list(iou.values())),
            "mean_accuracy": np.mean(list(accuracy.values())),
            "pixel_accuracy": 100 * np.mean(predicted == label),
        }
    )
    assert {name: row["accuracy"] for name, row in found.per_class.items()} == pytest.approx(
        accuracy
    )
    assert {name: row["iou"] for name, row in found.per_class.items()} == pytest.approx(
        {name: value for name, value in iou.items() if name in accuracy}
    )


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_may_share_the_images_in_any_way(world: int) -> None:
    assert result([maps()[rank::world] for rank in range(world)]) == result([maps()])


def test_without_a_labelled_pixel_there_is_nothing_to_say() -> None:
    assert result([maps()[3:4]]) == result([[]]) == Result({}, {})


def test_labels_that_are_no_class_are_refused() -> None:
    truth = np.zeros((4, 5), dtype=np.uint8)
    hidden = np.full((4, 5), IGNORED, dtype=np.uint8)
    for value, label in ((IGNORED, truth), (-1, truth), (len(CLASSES), hidden)):
        with pytest.raises(ValueError, match="prediction should hold labels from 0 to 5"):
            result([[(np.full((4, 5), value), label)]])
    with pytest.raises(
        ValueError, match="ground truth should hold labels from 0 to 5, found 0 to 6"
    ):
        result([[(truth.astype(np.int64), np.where(np.eye(4, 5), 6, 0).astype(np.uint8))]])
    with pytest.raises(ValueError, match="differ in size"):
        result([[(np.zeros((5, 4), dtype=np.int64), truth)]])
