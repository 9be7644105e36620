"""Accuracy of classification: top-1 and top-5, top-1 against ImageNet-Real's labels where there are
any, and what was taken for what.
"""

from base64 import b64encode
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.tasks.base import Result, distinct

Guesses = NDArray[np.int32]
"""Label and best guess of each image (images, 2)."""

MOST_CONFUSED = 200
"""Pairs of classes that are kept, the most frequent ones; of 14 classes these are all."""


class Accuracy:
    """Top-1 and top-5 in percent, the mean cross-entropy, and top-1 against ImageNet-Real's labels.

    By those, a prediction counts that is among an image's labels; images without any are left out.
    The best guess for each image is kept too: which are right, for pairs of networks to be set
    beside each other, top-1 of each class, and which classes are taken for which.

    Args:
        classes: names of the classes; labels are their positions.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._names = distinct(classes)
        self._sums = torch.zeros(6, dtype=torch.float64)
        self._guesses: list[Guesses] = []

    def update(self, outputs: Tensor, batch: dict[str, Any]) -> None:
        """Add logits (B, classes) against labels (B,)."""
        logits = outputs.float()
        labels = batch["labels"]
        guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
        ranked = guesses == labels[:, None]
        pairs = torch.stack([labels, guesses[:, 0]], dim=1)
        self._guesses.append(pairs.int().cpu().numpy())

        loss = F.cross_entropy(logits, labels, reduction="sum")
        counts = torch.stack(
            [torch.tensor(len(labels)), ranked[:, 0].sum().cpu(), ranked.sum().cpu()]
        )
        self._sums[:4] += torch.cat([counts.double(), loss.detach().double().cpu()[None]])

        if "real" in batch:
            right = sum(
                guess in real
                for guess, real in zip(guesses[:, 0].tolist(), batch["real"], strict=True)
            )
            self._sums[4:] += torch.tensor([sum(map(bool, batch["real"])), right])

    def state(self) -> tuple[Tensor, list[Guesses]]:
        """Return (samples, correct at 1, correct at 5, loss, samples with real labels, correct by
        them), and labels with best guesses, batch by batch.
        """
        return self._sums, self._guesses

    def result(self, states: list[tuple[Tensor, list[Guesses]]]) -> Result:
        """Return the metrics of all ranks' sums, which images of the split were right, and what
        was taken for what.
        """
        sums = torch.stack([sums for sums, _ in states]).sum(dim=0)
        count, first, fifth, loss, judged, right = sums.tolist()
        metrics = {"top1": 100 * first / count, "top5": 100 * fifth / count, "loss": loss / count}
        if judged:
            metrics["real_top1"] = 100 * right / judged

        guesses = _in_order([batches for _, batches in states])
        per_class = _per_class(guesses, self._names)
        return Result(metrics, per_class, _correct(guesses), _confused(guesses, self._names))


def _in_order(ranks: list[list[Guesses]]) -> Guesses:
    """Join batches, which go around the ranks as `eval_loader` deals them."""
    dealt = [batch for turn in zip_longest(*ranks) for batch in turn if batch is not None]
    return np.concatenate(dealt)


def _correct(guesses: Guesses) -> dict[str, Any]:
    """Return a bit for each image: whether it is right."""
    right = guesses[:, 0] == guesses[:, 1]
    return {"images": len(right), "bits": b64encode(np.packbits(right).tobytes()).decode()}


def _per_class(guesses: Guesses, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return top-1 in percent of each class that has images."""
    labels = guesses[:, 0]
    images = np.bincount(labels, minlength=len(names))
    right = np.bincount(labels[labels == guesses[:, 1]], minlength=len(names))
    return {
        name: {"top1": 100 * float(right[at] / images[at])}
        for at, name in enumerate(names)
        if images[at]
    }


def _confused(guesses: Guesses, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return how many images of a class were taken for which other one, the most first."""
    wrong = guesses[guesses[:, 0] != guesses[:, 1]]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_CONFUSED]
    return [
        {"label": names[pairs[at, 0]], "guess": names[pairs[at, 1]], "images": int(counts[at])}
        for at in order
    ]
