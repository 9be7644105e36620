"""Small parts that several blocks share: drop path, feed-forward, norms and 1x1 convolution on
tokens.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F


class DropPath(nn.Module):
    """Drops a residual branch for some samples of a batch and scales the others up (stochastic
    depth).

    The draw comes from the global generator of the input's device, one number a sample, so that a
    caller who seeds it before a micro-batch decides what is dropped.
    """

    def __init__(self, rate: float) -> None:
        """`rate` is the probability, from 0 to below 1, that a sample loses the branch."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape; the identity in eval mode and at rate 0."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        """Show the rate when a model is printed."""
        return f"{self.rate:.3f}"


class Mlp(nn.Module):
    """Feed-forward network of a block: Linear C -> ratio*C, exact GELU, Linear back (paper, section
    1.2).
    """

    def __init__(self, dim: int, ratio: float) -> None:
        """`dim` is C; `ratio` the width of the hidden layer in units of C."""
        super().__init__()
        hidden = hidden_width(dim, ratio)
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


def hidden_width(dim: int, ratio: float) -> int:
    """Width of the hidden layer of a feed-forward network on C channels, rounded down (official
    Swin).
    """
    return int(dim * ratio)


class PointConv(nn.Conv2d):
    """1x1 convolution.

    Weights and initial values are those of `Conv2d`, the product is a plain matrix product.

    On a channels_last map the tokens are rows of one matrix, and a matrix product over them needs
    neither the layout changes nor the set-up that a convolution library spends on a 1x1 kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False) -> None:
        """Map `in_channels` to `out_channels` at every position."""
        super().__init__(in_channels, out_channels, kernel_size=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H, W), channels_last."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(
            0, 3, 1, 2
        )


class SqueezeExcitation(nn.Module):
    """Scales every channel by a gate that is computed from the mean over the map: C -> C/16, ReLU,
    -> C, sigmoid.

    Where it stands in the paper's networks and how far it squeezes is not known. Here it scales the
    output of the mixing branch and squeezes by 16, as its own paper does (arXiv 1709.01507).
    """

    SQUEEZE = 16

    def __init__(self, dim: int) -> None:
        """`dim` is C."""
        super().__init__()
        hidden = max(1, dim // self.SQUEEZE)
        self.squeeze = nn.Linear(dim, hidden)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        mean = x.mean(dim=(1, 2), keepdim=True)
        gate: Tensor = self.expand(self.act(self.squeeze(mean)))
        return x * gate.sigmoid()

    def extra_macs(self, x: Tensor) -> int:
        """Return the mean and the scaling."""
        return 2 * x.numel()


Norm = Literal["ln", "bn"]


def make_norm(kind: Norm, dim: int) -> nn.LayerNorm | nn.BatchNorm2d:
    """LayerNorm or BatchNorm over C channels; `norm_tokens` and `norm_map` apply either.

    Raises:
        ValueError: another kind.
    """
    if kind not in get_args(Norm):
        raise ValueError(f"norm must be ln (LayerNorm) or bn (BatchNorm), not {kind!r}")
    return nn.LayerNorm(dim) if kind == "ln" else nn.BatchNorm2d(dim)


def norm_tokens(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a LayerNorm or BatchNorm2d to tokens (B, ., ., C); for BatchNorm a view in and a view
    out.
    """
    if isinstance(norm, nn.LayerNorm | nn.Identity):
        same: Tensor = norm(x)
        return same
    out: Tensor = norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return out


def norm_map(norm: nn.Module, x: Tensor) -> Tensor:
    """Return the same for a map (B, C, H, W)."""
    if isinstance(norm, nn.LayerNorm):
        out: Tensor = norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out
    same: Tensor = norm(x)
    return same


def init_linear_and_norm(module: nn.Module, linear_std: float | None) -> None:
    """Set one module's starting values by the paper's rule; made for `nn.Module.apply`.

    Linear weights are drawn from a normal cut at two units with standard deviation `linear_std`
    (the paper's 0.02; None: one over the square root of the inputs), their biases are 0, LayerNorm
    is 1 and 0. Convolutions and BatchNorm keep PyTorch's defaults (paper, section 1.1; official
    code).
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=linear_std or module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def pad_map(x: Tensor, multiple: int) -> Tensor:
    """Pad a map of tokens (B, H, W, C) with zeros at the right and the bottom to multiples of
    `multiple`.
    """
    bottom = -x.shape[1] % multiple
    right = -x.shape[2] % multiple
    return F.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x
