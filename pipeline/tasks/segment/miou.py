"""Mean intersection over union of label maps, from one confusion matrix over all pixels of the
split.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.tasks.base import Result, distinct

IGNORED = 255


class MeanIoU:
    """`miou`, `mean_accuracy` and `pixel_accuracy` in percent; each class's `iou` and `accuracy`.

    As mmsegmentation has it, a class that is neither in the ground truth nor predicted counts in no
    mean, one that is predicted without being there counts with an IoU of 0, and accuracy is the
    mean over classes that are there.

    Args:
        classes: names of the classes; labels are their positions.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._names = distinct(classes)
        self._confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)

    def update(self, outputs: Sequence[Tensor], batch: Mapping[str, Any]) -> None:
        """Add one batch.

        Args:
            outputs: a map (H, W) of integer labels for each image, at the size of its ground truth.
            batch: `labels`, the ground truth (H, W) uint8; 255 is ignored.

        Raises:
            ValueError: sizes differ, or a label is not one of the classes.
        """
        for predicted, label in zip(outputs, batch["labels"], strict=True):
            self._confusion += _confusion(predicted, torch.as_tensor(label), len(self._names)).cpu()

    def state(self) -> Tensor:
        """Return the confusion matrix (classes, classes) int64: ground truth by row, prediction by
        column.
        """
        return self._confusion

    def result(self, states: list[Tensor]) -> Result:
        """Return the metrics of all ranks' added matrices; without a labelled pixel there are
        none.
        """
        confusion = torch.stack([state.cpu() for state in states]).sum(dim=0).double()
        right = confusion.diagonal()
        labelled = confusion.sum(dim=1)
        predicted = confusion.sum(dim=0)
        union = labelled + predicted - right
        if not labelled.any():
            return Result({}, {})

        iou = 100 * right / union
        accuracy = 100 * right / labelled
        metrics = {
            "miou": float(iou[union > 0].mean()),
            "mean_accuracy": float(accuracy[labelled > 0].mean()),
            "pixel_accuracy": float(100 * right.sum() / labelled.sum()),
        }

        seen = (i for i in range(len(self._names)) if labelled[i] > 0)
        return Result(
            metrics,
            {self._names[i]: {"iou": float(iou[i]), "accuracy": float(accuracy[i])} for i in seen},
        )


def _confusion(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return how often each label (row) was predicted as each class (column), on the prediction's
    device.
    """
    if predicted.shape != label.shape:
        raise ValueError(
            f"prediction {tuple(predicted.shape)} and ground truth {tuple(label.shape)} differ "
            "in size"
        )

    predicted = predicted.long()
    label = label.to(predicted.device).long()
    counted = label != IGNORED
    for name, values in (("prediction", predicted), ("ground truth", label[counted])):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(
                f"{name} should hold labels from 0 to {classes - 1}, found {int(values.min())} "
                f"to {int(values.max())}"
            )

    pairs = classes * label[counted] + predicted[counted]
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)
