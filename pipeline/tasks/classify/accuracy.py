"""Accuracy of classification: top-1 and top-5, and top-1 against ImageNet-Real's labels where there
are any.
"""

from base64 import b64encode
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.tasks.base import Result

Right = NDArray[np.bool_]
"""Whether the best guess for each image of a batch is its label."""


class Accuracy:
    """Top-1 and top-5 in percent, the mean cross-entropy, and top-1 against ImageNet-Real's labels.

    By those, a prediction counts that is among an image's labels; images without any are left out.
    Which images are right at top-1 is kept too, for pairs of networks to be set beside each other.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(6, dtype=torch.float64)
        self._right: list[Right] = []

    def update(self, outputs: Tensor, batch: dict[str, Any]) -> None:
        """Add logits (B, classes) against labels (B,)."""
        logits = outputs.float()
        labels = batch["labels"]
        guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
        ranked = guesses == labels[:, None]
        self._right.append(ranked[:, 0].cpu().numpy())

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

    def state(self) -> tuple[Tensor, list[Right]]:
        """Return (samples, correct at 1, correct at 5, loss, samples with real labels, correct by
        them), and which images were right, batch by batch.
        """
        return self._sums, self._right

    def result(self, states: list[tuple[Tensor, list[Right]]]) -> Result:
        """Return the metrics of all ranks' sums, and which images of the split were right."""
        sums = torch.stack([sums for sums, _ in states]).sum(dim=0)
        count, first, fifth, loss, judged, right = sums.tolist()
        metrics = {"top1": 100 * first / count, "top5": 100 * fifth / count, "loss": loss / count}
        if judged:
            metrics["real_top1"] = 100 * right / judged
        return Result(metrics, correct=_in_order([batches for _, batches in states]))


def _in_order(ranks: list[list[Right]]) -> dict[str, Any]:
    """Return a bit for each image: batches go around the ranks, as `eval_loader` deals them."""
    dealt = [batch for turn in zip_longest(*ranks) for batch in turn if batch is not None]
    right = np.concatenate(dealt)
    return {"images": len(right), "bits": b64encode(np.packbits(right).tobytes()).decode()}
