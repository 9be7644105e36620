"""Local MLP: Swin with a learned matrix in place of attention, the same for all images.

Swin's block without queries, keys and position biases (paper, sections 1.3 and 1.4). No code of it
was released. Windows are cut, shifted and filled up with zeros as in Swin; where a shifted window
holds tokens that were no neighbours, their weights count as 0, as attention between them does.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from models.network.blocks import PreNormBlock
from models.network.layers import Norm, make_norm, norm_tokens, pad_map
from models.network.options import odd_kernel, only_map_size, resolve_groups
from models.network.spec import BlockConfig, Switches, sharing
from models.network.windows import cut, join, shift_mask, window_of

SWITCHES = Switches(
    neighbourhood="window", shared_positions=False, shared_channels="groups", dynamic=False
)


class WindowMlp(nn.Module):
    """Static mixing inside windows of K x K tokens: a matrix (K*K, K*K) for each of G groups of
    channels.

    With a matrix for every window the weights belong to one map size; shared over windows they take
    any.
    """

    def __init__(
        self,
        place: BlockConfig,
        window: int,
        groups: int,
        *,
        shifted: bool = False,
        shared_windows: bool = False,
        row_bias: bool = False,
        projection_norm: Norm | None = None,
    ) -> None:
        """`shifted` moves the windows by half their length, `row_bias` adds a learned number to
        every sum.

        `projection_norm` puts a norm of that kind behind both projections.
        """
        super().__init__()
        self.switches = replace(SWITCHES, shared_channels=sharing(groups, place.dim))
        self.window = window
        self.groups = groups
        self.shifted = shifted
        self.shrink = place.shrink_windows
        self.map_size = None if shared_windows else place.map_size
        self.image_size = place.image_size

        tokens = window * window
        windows = 1
        if not shared_windows:
            windows = -(-place.map_size[0] // window) * -(-place.map_size[1] // window)

        self.value = nn.Linear(place.dim, place.dim)
        # Each sum starts as wide as that of a depth-wise convolution over as many tokens.
        self.weight = nn.Parameter(
            torch.empty(windows, groups, tokens, tokens).uniform_(-1 / window, 1 / window)
        )
        self.bias = nn.Parameter(torch.zeros(windows, groups, tokens)) if row_bias else None
        self.proj = nn.Linear(place.dim, place.dim)
        self.value_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, place.dim)
        )
        self.proj_norm = (
            nn.Identity() if projection_norm is None else make_norm(projection_norm, place.dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C).

        Raises:
            ValueError: weights for every window, and a map of another size than the one they were
                built for.
        """
        height, width = x.shape[1:3]
        if self.map_size is not None:
            only_map_size("local_mlp", (height, width), self.map_size, self.image_size)

        _, shift = window_of(height, width, self.window, self.shifted, self.shrink)
        x = pad_map(x, self.window)
        padded = (x.shape[1], x.shape[2])
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        x = join(self._mix(cut(x, self.window), shift, padded), padded)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))

        return x[:, :height, :width].contiguous()

    def _mix(self, x: Tensor, shift: int, padded: tuple[int, int]) -> Tensor:
        """(B, windows, tokens, C) -> the same shape."""
        value = norm_tokens(self.value_norm, self.value(x)).unflatten(3, (self.groups, -1))
        weight: Tensor = self.weight
        if shift:
            weight = weight * (shift_mask(*padded, self.window, shift, x.device) == 0).unsqueeze(1)
        weight = weight.expand(x.shape[1], -1, -1, -1).to(value.dtype)

        mixed = torch.einsum("wgts,bwsgc->bwtgc", weight, value)
        if self.bias is not None:
            mixed = mixed + self.bias.transpose(1, 2).unsqueeze(-1)
        return norm_tokens(self.proj_norm, self.proj(mixed.flatten(3)))

    def extra_macs(self, x: Tensor) -> int:
        """Return the weighted sum, on the map filled up to whole windows."""
        batch, height, width, channels = x.shape
        tokens = (height + -height % self.window) * (width + -width % self.window)
        return batch * tokens * self.window * self.window * channels


def block(
    place: BlockConfig,
    *,
    kernel_size: int = 7,
    groups: int | None = None,
    group_channels: int | None = None,
    shared_windows: bool = False,
    row_bias: bool = False,
    shift: bool = True,
    norm: Norm = "ln",
    projection_norm: bool = False,
    se: bool = False,
) -> nn.Module:
    """One block; `kernel_size` is the side of the window, and there are as many groups as Swin has
    heads.
    """
    mixer = WindowMlp(
        place,
        odd_kernel(kernel_size),
        resolve_groups(place.dim, groups, group_channels, default=place.heads),
        shifted=shift and place.index % 2 == 1,
        shared_windows=shared_windows,
        row_bias=row_bias,
        projection_norm=norm if projection_norm else None,
    )

    return PreNormBlock(place, mixer, norm, se)
