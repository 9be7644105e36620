"""Counting: parameters, and operations by the rule of the authors' code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.backbone import Backbone, Classifier
from models.layers import TokenBatchNorm

OFFICIAL_RULE = "flops()"
"""Multiply-adds of convolutions, linear layers and mixing; 1 a value for each norm of the Swin skeleton (a
depth-wise block counts both, though it has only the second); 8 a value for the norms and activations inside a
depth-wise sandwich. Biases, GELU, softmax and residual sums are free (official code; paper, section 1.4)."""

MACS_RULE = "macs"
"""Multiply-adds of convolutions, linear layers and matrix products alone; for models of other people."""


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(model: nn.Module, image_size: int | tuple[int, int]) -> dict[str, Any]:
    """Counts what one image costs in one forward pass, on the device of the weights (`meta` is the fastest).

    Args:
        model: a network of this package, a module around one, or any other image network.
        image_size: side, or (height, width), in pixels.

    Returns:
        `rule` (`flops()` for networks of this package, else `macs`), `total`, and, under `flops()`, its
        parts `convolution`, `linear`, `mixing` and `norm`.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)
    with _in_eval(model), torch.no_grad():
        if any(isinstance(module, Backbone) for module in model.modules()):
            parts = _official(model, image)
            return {"rule": OFFICIAL_RULE, "total": sum(parts.values()), **parts}
        with FlopCounterMode(display=False) as counter:
            model(image)
        return {"rule": MACS_RULE, "total": counter.get_total_flops() // 2}


def _official(model: nn.Module, image: Tensor) -> dict[str, int]:
    parts: Counter[str] = Counter(convolution=0, linear=0, mixing=0, norm=0)
    hooks = [
        module.register_forward_hook(partial(_add, parts, kind, rule))
        for module in model.modules()
        for kind, rule in _rules(module)
    ]
    for module in model.modules():
        if isinstance(module, Classifier):
            # The official counter takes the last map for four times as large as it is.
            hooks.append(module.norm.register_forward_hook(partial(_add, parts, "norm", _three_values)))
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return dict(parts)


Rule = Callable[[nn.Module, Tensor, Tensor], int]


def _rules(module: nn.Module) -> Iterator[tuple[str, Rule]]:
    """What one module adds: the part of the sum, and its number from module, input and output."""
    if isinstance(module, nn.Conv2d):
        yield "convolution", lambda m, _, out: out[:, 0].numel() * m.weight.numel()  # type: ignore[operator]
    elif isinstance(module, nn.Linear):
        yield "linear", lambda m, x, _: x[..., 0].numel() * m.weight.numel()  # type: ignore[operator]
    elif isinstance(module, nn.LayerNorm | TokenBatchNorm):
        yield "norm", lambda _, x, __: x.numel()
    elif hasattr(module, "extra_macs"):
        yield "mixing", lambda m, x, _: m.extra_macs(x)  # type: ignore[operator]


def _three_values(_: nn.Module, x: Tensor, __: Tensor) -> int:
    return 3 * x.numel()


def _add(parts: Counter[str], kind: str, rule: Rule, module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
    parts[kind] += rule(module, args[0], out)


@contextmanager
def _in_eval(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, every module's own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
