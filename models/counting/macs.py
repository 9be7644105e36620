"""Counting: parameters, and operations by each of the three rules that the published numbers
follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from models.network.backbone import Backbone, Classifier, Stage
from models.network.blocks import DepthwiseBlock, PreNormBlock
from models.network.layers import DropPath

OFFICIAL_RULE = "flops()"
"""MACs of convolutions, linear layers and mixing; 1 a value for each norm of the Swin
skeleton (a depth-wise block counts both, though it has only the second); 8 a value for the norms
and activations inside a depth-wise sandwich. Biases, GELU, softmax and residual sums are free
(official code; paper, section 1.4).
"""

MACS_RULE = "macs"
"""MACs of convolutions, linear layers and matrix products alone; for models of other
people.
"""


@dataclass(frozen=True)
class Prices:
    """What one value costs, beside the MACs of convolutions, linear layers and mixing."""

    conv_bias: int
    linear_bias: int
    norm: int
    relu: int
    gelu: int
    softmax: int


FULL_RULE = "full"
DOWNSTREAM_RULE = "downstream"
PRICES = {
    # Comes nearest to the rounded numbers of the authors' README (paper, section 1.4).
    FULL_RULE: Prices(conv_bias=1, linear_bias=1, norm=2, relu=1, gelu=1, softmax=1),
    # The authors' counter for detection and segmentation (paper, section 3.2).
    DOWNSTREAM_RULE: Prices(conv_bias=1, linear_bias=0, norm=2, relu=1, gelu=15, softmax=5),
}
RULES = (OFFICIAL_RULE, *PRICES)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(
    model: nn.Module, image_size: int | tuple[int, int], rule: str = OFFICIAL_RULE
) -> dict[str, Any]:
    """Count what one image costs in one forward pass, on the device of the weights (`meta` is the
    fastest).

    A detector is counted with all the proposals and detections that it may have at test, a
    segmenter without its auxiliary head; their published numbers are by the rule `downstream` at
    (800, 1280) and (512, 2048).

    Args:
        model: a network of this package, a module around one, or any other image network.
        image_size: side, or (height, width), in pixels.
        rule: one of `RULES`; for other networks it is always `macs`.

    Returns:
        `rule` (the one asked for, or `macs`), `total`, and, for networks of this package, its
        parts: `convolution`, `linear`, `mixing`, `norm`, and but for `flops()` `activation`.

    Raises:
        ValueError: there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"there is no counting rule '{rule}'; known are {', '.join(RULES)}")
    if any(isinstance(module, Backbone) for module in model.modules()):
        return _count(model, image_size, (rule,))[rule]
    with _in_eval(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        _pass(model)(_image(model, image_size))
    return {"rule": MACS_RULE, "total": counter.get_total_flops() // 2}


def count_by_each_rule(model: nn.Module, image_size: int | tuple[int, int]) -> dict[str, int]:
    """Return the totals of `count_macs` for a network of this package by all `RULES`, in one
    forward pass.
    """
    return {rule: counted["total"] for rule, counted in _count(model, image_size, RULES).items()}


Cost = Callable[[Tensor, Tensor], int]
"""What one call of a module costs, from its input and its output."""


def _count(
    model: nn.Module, image_size: int | tuple[int, int], rules: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the result of `count_macs` for each rule."""
    parts: dict[str, Counter[str]] = {rule: Counter() for rule in rules}
    hooks = [
        module.register_forward_hook(partial(_add, parts[rule], kind, cost))
        for rule in rules
        for module, kind, cost in (
            _official(model) if rule == OFFICIAL_RULE else _priced(model, PRICES[rule])
        )
    ]

    try:
        with _in_eval(model), _each_kind_once(model, parts), torch.no_grad():
            _pass(model)(_image(model, image_size))
    finally:
        for hook in hooks:
            hook.remove()

    return {
        rule: {"rule": rule, "total": sum(counter.values()), **counter}
        for rule, counter in parts.items()
    }


def _pass(model: nn.Module) -> Callable[[Tensor], Any]:
    """Return what is counted: a pass, or where that depends on what is in the image, the model's
    `fixed_work`.
    """
    function: Callable[[Tensor], Any] = getattr(model, "fixed_work", model)
    return function


def _image(model: nn.Module, image_size: int | tuple[int, int]) -> Tensor:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    parameter = next(model.parameters())
    return torch.zeros(1, 3, height, width, device=parameter.device, dtype=parameter.dtype)


def _add(
    parts: Counter[str], kind: str, cost: Cost, _: nn.Module, args: tuple[Tensor], out: Tensor
) -> None:
    parts[kind] += cost(args[0], out)


@contextmanager
def _each_kind_once(model: nn.Module, parts: Mapping[str, Counter[str]]) -> Iterator[None]:
    """Inside, a block that is like an earlier one of its stage is not run: it adds what that one
    cost, which saves most of the time.
    """
    blocks = []
    for stage in (module for module in model.modules() if isinstance(module, Stage)):
        earlier: dict[tuple[object, ...], _Priced] = {}
        for block in stage.blocks:
            kind = _kind(block)
            if (like := earlier.get(kind)) is None:
                earlier[kind] = _Priced(block, parts)
            else:
                block.forward = like.again
            blocks.append(block)

    try:
        yield
    finally:
        for block in blocks:
            del block.forward


class _Priced:
    """A block that keeps what its inside cost when it was run; its own hooks come on top."""

    def __init__(self, block: nn.Module, parts: Mapping[str, Counter[str]]) -> None:
        self._run = block.forward
        self._parts = parts
        self._cost: dict[str, Counter[str]] = {}
        block.forward = self.forward

    def forward(self, x: Tensor) -> Tensor:
        """Run the block, (B, H, W, C) -> (B, H, W, C)."""
        before = {rule: Counter(parts) for rule, parts in self._parts.items()}
        out: Tensor = self._run(x)
        for rule, parts in self._parts.items():
            self._cost[rule] = Counter({kind: parts[kind] - before[rule][kind] for kind in parts})
        return out

    def again(self, x: Tensor) -> Tensor:
        """Add the same cost, for tokens of the same shape."""
        for rule, cost in self._cost.items():
            self._parts[rule].update(cost)
        return x


def _kind(block: nn.Module) -> tuple[object, ...]:
    """Return all that a block's cost may depend on: classes, plain attributes, shapes."""
    return tuple(
        (type(module), _attributes(module), _shapes(module))
        for module in block.modules()
        if not isinstance(module, DropPath)  # grows from block to block, and costs nothing
    )


def _attributes(module: nn.Module) -> tuple[tuple[str, str], ...]:
    """Return what a module was given beside tensors and other modules, which PyTorch keeps behind
    names that begin with a line.
    """
    own = vars(module).items()
    return tuple((name, repr(value)) for name, value in own if not name.startswith("_"))


def _shapes(module: nn.Module) -> tuple[object, ...]:
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return tuple((name, tuple(tensor.shape)) for name, tensor in tensors)


def _products(module: nn.Module) -> Iterator[tuple[nn.Module, str, Cost]]:
    """MACs, which all rules count alike."""
    if isinstance(module, nn.Conv2d):
        yield module, "convolution", lambda _, out, w=module.weight: out[:, 0].numel() * w.numel()  # type: ignore[misc]
    elif isinstance(module, nn.ConvTranspose2d):
        yield module, "convolution", lambda x, _, w=module.weight: x[:, 0].numel() * w.numel()  # type: ignore[misc]
    elif isinstance(module, nn.Linear):
        yield module, "linear", lambda x, _, w=module.weight: x[..., 0].numel() * w.numel()  # type: ignore[misc]
    elif hasattr(module, "extra_macs"):
        yield module, "mixing", lambda x, _, m=module: m.extra_macs(x)  # type: ignore[misc]


def _official(model: nn.Module) -> Iterator[tuple[nn.Module, str, Cost]]:
    skeletons = [
        module for module in model.modules() if isinstance(module, PreNormBlock | DepthwiseBlock)
    ]
    in_skeleton = {child for skeleton in skeletons for child in skeleton.modules()}

    for module in model.modules():
        yield from _products(module)
        if module in skeletons:
            yield module, "norm", lambda x, _, m=module: m.norm_macs(x)  # type: ignore[misc]
        elif isinstance(module, nn.LayerNorm | _BatchNorm) and module not in in_skeleton:
            yield module, "norm", lambda x, _: x.numel()
        elif isinstance(module, Classifier):
            # The official counter takes the last map for four times as large as it is.
            yield module.norm, "norm", lambda x, _: 3 * x.numel()


def _priced(model: nn.Module, prices: Prices) -> Iterator[tuple[nn.Module, str, Cost]]:
    price_of: dict[type[nn.Module], tuple[str, int]] = {
        nn.LayerNorm: ("norm", prices.norm),
        _BatchNorm: ("norm", prices.norm),
        nn.ReLU: ("activation", prices.relu),
        nn.GELU: ("activation", prices.gelu),
        nn.Softmax: ("activation", prices.softmax),
    }

    for module in model.modules():
        yield from _products(module)
        for kind, (label, price) in price_of.items():
            if isinstance(module, kind):
                yield module, label, lambda x, _, price=price: price * x.numel()  # type: ignore[misc]
        if isinstance(module, nn.LayerNorm | _BatchNorm) or module._parameters.get("bias") is None:
            continue
        # A bias beside the weights of a mixing operator is that of the convolution in the authors'
        # code.
        linear = isinstance(module, nn.Linear)
        price, label = (
            (prices.linear_bias, "linear") if linear else (prices.conv_bias, "convolution")
        )
        yield module, label, lambda _, out, price=price: price * out.numel()  # type: ignore[misc]


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
