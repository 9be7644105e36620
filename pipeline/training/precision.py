"""Mixed precision of steps and evaluations."""

import torch

from pipeline.params import Precision

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the mixed-precision context of a recipe's `amp` or `eval_amp`."""
    return torch.autocast(
        device.type, dtype=AMP.get(precision, torch.bfloat16), enabled=precision != "none"
    )
