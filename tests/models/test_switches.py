"""What a mixer declares about itself is found again by perturbing its input and its weights.

One experiment answers for the neighbourhood and for the sharing over positions: the input grows at
one position and shrinks as much at another, so that its mean over the map, which a dynamic kernel
may look at, stays. A second one changes a single weight: in a static mixer, what changes with it
shares it.
"""

from typing import Any

import pytest
import torch

from models import create_backbone, mixers
from models.network.backbone import Backbone
from models.network.spec import Switches

KERNEL = 5
SIDE = 15
# Both stand in the corner of a 5x5 tile, and their sliding windows stay on the map and apart from
# each other.
UP, DOWN = (5, 5), (10, 10)


def settings(name):
    """What is tried of a mixer, by the options that it takes: sharing over channels, norms and
    position biases.
    """
    taken = mixers.load(name).options
    yield {}
    yield from ({"group_channels": number} for number in (1, 4) if "group_channels" in taken)
    # All channels alike: one group, and for attention one head.
    if "groups" in taken:
        yield {"groups": 1}
    elif "group_channels" in taken:
        yield {"num_heads": (1, 1, 1, 1)}
    yield from ({"norm": norm} for norm in ("ln", "bn") if "norm" in taken)
    if "position_bias" in taken:
        yield {"position_bias": False}


VARIANTS = [(name, options) for name in mixers.names() for options in settings(name)]
VARIANTS += [
    (name, {"skeleton": "depthwise", **options})
    for name, options in VARIANTS
    if "skeleton" in mixers.load(name).options
]


class Mixing:
    """The mixing operation of the first block of a network's last stage, on maps (B, C, H, W) in
    float64.
    """

    def __init__(self, mixer, options):
        backbone = create_backbone(
            f"{mixer}_micro", image_size=32 * SIDE, **with_kernel(mixer, options)
        )
        assert isinstance(backbone, Backbone)
        self.declared = backbone.switches
        self.channels = backbone.channels[-1]
        block = backbone.stages[-1].get_submodule("blocks.0").double().eval()
        self.operator: Any = next(  # of whichever class the mixer has
            module for module in reversed(list(block.modules())) if "switches" in vars(module)
        )
        self.tokens = hasattr(self.operator, "proj")
        self._make_plain()

    def _make_plain(self):
        """Takes out what works on each position alone: the bias, and the projections around
        attention.
        """
        with torch.no_grad():
            for parameter in self.operator.parameters():
                parameter.normal_(std=0.1)
            for module in self.operator.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.weight.fill_(1.0)
            if getattr(self.operator, "bias", None) is not None:
                self.operator.bias.zero_()
            if self.tokens:
                identity = torch.eye(self.channels, dtype=torch.float64)
                values = self.operator.qkv if hasattr(self.operator, "qkv") else self.operator.value
                values.weight[-self.channels :] = identity
                values.bias[-self.channels :] = 0
                self.operator.proj.weight.copy_(identity)
                self.operator.proj.bias.zero_()

    def __call__(self, x):
        with torch.no_grad():
            if self.tokens:
                return self.operator(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return self.operator(x)

    def random_map(self):
        return torch.randn(1, self.channels, SIDE, SIDE, dtype=torch.float64)

    def response(self):
        """Change of the output, (C, H, W), to a step up at `UP` and one down at `DOWN`."""
        x = self.random_map()
        moved = x.clone()
        moved[..., UP[0], UP[1]] += 1
        moved[..., DOWN[0], DOWN[1]] -= 1
        return (self(moved) - self(x))[0]


def with_kernel(mixer, options):
    """The options, with a kernel that fits the map three times where the mixer has one."""
    return (
        {"kernel_size": KERNEL, **options}
        if "kernel_size" in mixers.load(mixer).options
        else options
    )


def around(position):
    """The sliding window around a position."""
    reach = KERNEL // 2
    return tuple(slice(place - reach, place + reach + 1) for place in position)


def tile(position):
    """The window, of those that cut up the map, that a position lies in."""
    return tuple(
        slice(place - place % KERNEL, place - place % KERNEL + KERNEL) for place in position
    )


def found_neighbourhood(response, kernel_given):
    """The region that changed; a mixer whose kernel cannot be chosen may fill a part of the sliding
    window alone.
    """
    changed = response.abs().amax(0) > 1e-9
    for name, region in (("sliding", around), ("window", tile)):
        expected = torch.zeros_like(changed)
        expected[region(UP)] = expected[region(DOWN)] = True
        if torch.equal(changed, expected) or (
            not kernel_given and changed.any() and not changed[~expected].any()
        ):
            return name
    return "global" if changed.all() else "none of these"


def found_shared_positions(response, region):
    up, down = response[(slice(None), *region(UP))], response[(slice(None), *region(DOWN))]
    return torch.allclose(up, -down, atol=1e-9)


def found_shared_channels(mixing):
    """Channels with the same input have the same output where they share weights."""
    x = mixing.random_map()[:, :1].expand(-1, mixing.channels, -1, -1)
    different = len(torch.unique(mixing(x)[0].flatten(1).mul(1e7).round(), dim=0))
    return {1: "yes", mixing.channels: "no"}.get(different, "groups")


def found_dynamic(mixing):
    """Static weights make a linear map."""
    x = mixing.random_map()
    return not torch.allclose(mixing(2 * x), 2 * mixing(x), atol=1e-9)


@pytest.mark.parametrize(("mixer", "options"), VARIANTS, ids=str)
def test_switches_are_as_declared(mixer, options):
    mixing = Mixing(mixer, options)
    response = mixing.response()
    neighbourhood = found_neighbourhood(response, "kernel_size" in mixers.load(mixer).options)
    region = tile if neighbourhood == "window" else around
    assert mixing.declared == Switches(
        neighbourhood=neighbourhood,
        shared_positions=found_shared_positions(response, region),
        shared_channels=found_shared_channels(mixing),
        dynamic=found_dynamic(mixing),
    )


STATIC = [
    (mixer, options) for mixer, options in VARIANTS if not mixers.load(mixer).switches.dynamic
]


@pytest.mark.parametrize(("mixer", "options"), STATIC, ids=str)
def test_what_one_weight_reaches_is_what_shares_it(mixer, options):
    mixing = Mixing(mixer, options)
    x = mixing.random_map()
    own = {
        name: value
        for name, value in mixing.operator.named_parameters(recurse=False)
        if name != "bias"
    }
    weight = max(own.values(), key=torch.numel)
    y = mixing(x)
    # The middle of every axis: a position in the middle of the map, the tap or token in the middle
    # of its window.
    with torch.no_grad():
        weight[tuple(length // 2 for length in weight.shape)] += 1.0
    changed = (mixing(x) - y)[0].abs() > 1e-9
    channels = int(changed.any(dim=2).any(dim=1).sum())
    found = {mixing.channels: "yes", 1: "no"}.get(channels, "groups")
    assert mixing.declared.shared_channels == found
    positions = int(changed.any(dim=0).sum())
    assert mixing.declared.shared_positions == (positions > 1)


@pytest.mark.parametrize("mixer", mixers.names())
def test_default_options_keep_the_files_declaration(mixer):
    with torch.device("meta"):
        assert create_backbone(f"{mixer}_tiny").switches == mixers.load(mixer).switches
