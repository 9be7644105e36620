"""What a mixer is told about its place in the network, and what it declares about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

Neighbourhood = Literal["window", "sliding", "global"]
Sharing = Literal["yes", "groups", "no"]


@dataclass(frozen=True)
class Switches:
    """The three questions of the paper, answered for one way of mixing, and the neighbourhood it
    looks at.

    Attributes:
        neighbourhood: `window` (the map is cut into tiles that do not see each other), `sliding`
            (every position has the window around itself) or `global`.
        shared_positions: whether all positions of an image use the same weights.
        shared_channels: whether channels use the same weights: all of them, in groups, or none.
        dynamic: whether the weights are computed from the image.
    """

    neighbourhood: Neighbourhood
    shared_positions: bool
    shared_channels: Sharing
    dynamic: bool


@dataclass(frozen=True)
class BlockConfig:
    """Where a block stands in the network; all that the backbone tells a mixer.

    Attributes:
        size: micro, tiny, small or base, for options whose default depends on it.
        stage: 0 to 3.
        index: number of the block in its stage, from 0.
        dim: channels C of the stage.
        heads: attention heads of the stage; for mixers that have heads.
        mlp_ratio: hidden width of the feed-forward network in units of C.
        drop_path: probability that a sample loses a residual branch of this block.
        map_size: (H, W) of the stage's map for the image size that the model is built for; only
            mixers with weights per position are bound to it.
        image_size: that image size, (H, W) in pixels.
        pad_to: sides that a depth-wise block fills its map up to multiples of; 1 for none.
        shrink_windows: whether windows shrink to a map that is smaller; it is filled up to whole
            ones otherwise.
    """

    size: str
    stage: int
    index: int
    dim: int
    heads: int
    mlp_ratio: float
    drop_path: float
    map_size: tuple[int, int]
    image_size: tuple[int, int]
    pad_to: int = 1
    shrink_windows: bool = True


def sharing(groups: int, channels: int) -> Sharing:
    """Names the sharing over channels that `groups` groups of `channels` channels mean."""
    if groups == channels:
        return "no"
    return "yes" if groups == 1 else "groups"


def declared_switches(network: nn.Module) -> Switches:
    """Return what a network, or a part of one, says about how it mixes: all its blocks mix in the
    same way.

    Its last block speaks for all: the first stage of a small network may have a single head, so
    that groups of channels and all channels are the same there.

    Raises:
        ValueError: no module in it declares `switches`.
    """
    for module in reversed(list(network.modules())):
        switches = getattr(module, "switches", None)
        if isinstance(switches, Switches):
            return switches
    raise ValueError(f"no module of {type(network).__name__} declares its switches")
