"""AdamW with the recipe's decay rule."""

import torch
from torch import nn

from pipeline.params import Optimizer

NORM_NAMES = ("norm", "absolute_pos_embed", "relative_position_bias_table")


def create(model: nn.Module, numbers: Optimizer, device: torch.device) -> torch.optim.Optimizer:
    """Return AdamW over two groups: decayed and not.

    `1d_and_bias` decays no 1-D tensor and no bias (the official ImageNet rule); `norm_names` exempts only the names
    that the official detection and segmentation configs list, so that batch norms named `bn` are decayed there.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if numbers.no_decay == "1d_and_bias":
            spare = parameter.ndim <= 1 or name.endswith(".bias")
        else:
            spare = any(part in name for part in NORM_NAMES)
        (spared if spare else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": numbers.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    fused = device.type in ("cpu", "cuda")  # one kernel for all tensors; small networks have many
    return torch.optim.AdamW(groups, lr=numbers.lr, betas=numbers.betas, eps=numbers.eps, fused=fused or None)
