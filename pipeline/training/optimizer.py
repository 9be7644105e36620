"""AdamW with the recipe's decay rule."""

from collections.abc import Iterator

import torch
from torch import nn

from pipeline.params import Optimizer

POSITIONS = ("absolute_pos_embed", "relative_position_bias_table")
"""Parts of the names that all official rules spare: what says where a token is (official Swin)."""

NORM_NAMES = ("norm", *POSITIONS)
"""Parts of the names that the official detection and segmentation configurations spare, and nothing
else.
"""


def create(model: nn.Module, numbers: Optimizer, device: torch.device) -> torch.optim.Optimizer:
    """Return AdamW over two groups: decayed and not.

    `1d_and_bias` is the official ImageNet rule (Swin's trainer, which the paper's authors kept):
    neither 1-D tensors, biases, nor position embeddings and biases are decayed, nor what a network
    of timm itself exempts. `norm_names` exempts only the names that the official detection and
    segmentation configurations list, so that biases, and batch norms named `bn`, are decayed there.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    exempt = set(_exempt(model))

    for name, parameter in model.named_parameters():
        if numbers.no_decay == "1d_and_bias":
            spare = (
                parameter.ndim <= 1
                or name.endswith(".bias")
                or name in exempt
                or _holds(name, POSITIONS)
            )
        else:
            spare = _holds(name, NORM_NAMES)
        (spared if spare else decayed).append(parameter)

    groups = [
        {"params": decayed, "weight_decay": numbers.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]

    fused = device.type in ("cpu", "cuda")  # one kernel for all tensors; small networks have many
    return torch.optim.AdamW(
        groups, lr=numbers.lr, betas=numbers.betas, eps=numbers.eps, fused=fused or None
    )


def _holds(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name for part in parts)


def _exempt(model: nn.Module) -> Iterator[str]:
    """Yield the names that networks of timm in the model exempt: class tokens, position embeddings
    and the like.
    """
    for prefix, module in model.named_modules():
        if callable(names := getattr(module, "no_weight_decay", None)):
            yield from (f"{prefix}.{name}".lstrip(".") for name in names())
