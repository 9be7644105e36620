"""Accuracy of classification: top-1 and top-5, and top-1 against ImageNet-Real's labels where there
are any.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.tasks.base import Result


class Accuracy:
    """Top-1 and top-5 in percent, the mean cross-entropy, and top-1 against ImageNet-Real's labels.

    By those, a prediction counts that is among an image's labels; images without any are left out.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(6, dtype=torch.float64)

    def update(self, outputs: Tensor, batch: dict[str, Any]) -> None:
        """Add logits (B, classes) against labels (B,)."""
        logits, labels = outputs.float(), batch["labels"]
        guesses = logits.topk(min(5, logits.shape[1]), dim=1).indices
        ranked = guesses == labels[:, None]
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

    def state(self) -> Tensor:
        """Return (samples, correct at 1, correct at 5, loss, samples with real labels, correct by
        them).
        """
        return self._sums

    def result(self, states: list[Tensor]) -> Result:
        """Return the metrics of all ranks' sums."""
        count, first, fifth, loss, judged, right = torch.stack(states).sum(dim=0).tolist()
        metrics = {"top1": 100 * first / count, "top5": 100 * fifth / count, "loss": loss / count}
        return Result({**metrics, "real_top1": 100 * right / judged} if judged else metrics)
