"""The paper's thesis on numbers: what looks like different layers is one sum with other weights.

Each test writes one way of mixing as another, in float64.
"""

import pytest
import torch
from models_reference import aggregate_reference
from torch.nn import functional as F

from models import create_backbone
from models.aggregate import aggregate, aggregate_predicted
from models.mixers.dwnet import StaticDepthwise
from models.mixers.dynamic_dwnet import ImageDepthwise
from models.mixers.i_dynamic_dwnet import PositionDepthwise
from models.mixers.local_mlp import WindowMlp
from models.mixers.locally_connected import StaticPositionwise
from models.mixers.sliding_attention import AttentionDepthwise, SlidingAttention
from models.mixers.swin import WindowAttention
from models.network.spec import BlockConfig

BATCH, DIM, HEADS, KERNEL = 2, 8, 2, 3


def drawn(module):
    """The module in float64 and eval mode with every number drawn, running statistics of batch
    norms too.
    """
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_()
    return module


def a_map(height=6, width=5, dim=DIM):
    return torch.randn(BATCH, dim, height, width, dtype=torch.float64)


def a_place(height, width, heads=HEADS):
    return BlockConfig("tiny", 0, 0, DIM, heads, 4.0, 0.0, (height, width), (4 * height, 4 * width))


def attention_weights(query, key, table):
    """Softmax of q.k and the bias of the offset, pair of positions by pair, 0 off the map: (B, M,
    K*K, H, W).

    Queries and keys are (B, H, W, C).
    """
    height, width = query.shape[1:3]
    query, key = query.unflatten(3, (HEADS, -1)), key.unflatten(3, (HEADS, -1))
    scores = torch.full((BATCH, HEADS, KERNEL**2, height, width), -torch.inf, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            for tap in range(KERNEL**2):
                r, c = row + tap // KERNEL - 1, column + tap % KERNEL - 1
                if 0 <= r < height and 0 <= c < width:
                    dots = (query[:, row, column] * key[:, r, c]).sum(-1) * (DIM // HEADS) ** -0.5
                    scores[:, :, tap, row, column] = dots + table[tap]
    return scores.softmax(dim=2)


def test_local_attention_is_the_aggregation_with_softmax_weights():
    module, x = drawn(SlidingAttention(DIM, HEADS, KERNEL)), a_map().permute(0, 2, 3, 1)
    query, key, value = module.qkv(x).chunk(3, dim=3)
    weights = attention_weights(query, key, module.relative_position_bias_table)
    mixed = aggregate_reference(value.permute(0, 3, 1, 2), weights)
    torch.testing.assert_close(module(x), module.proj(mixed.permute(0, 2, 3, 1)))


def test_attention_in_the_depthwise_skeleton_aggregates_its_input_with_softmax_weights():
    module, x = drawn(AttentionDepthwise(DIM, HEADS, KERNEL)), a_map()
    projected = x.permute(0, 2, 3, 1) @ module.query_key.weight.flatten(1).T + module.query_key.bias
    query, key = projected.chunk(2, dim=3)
    weights = attention_weights(query, key, module.relative_position_bias_table)
    torch.testing.assert_close(module(x), aggregate_reference(x, weights))


def test_attention_whose_scores_do_not_depend_on_the_image_is_a_depthwise_convolution_in_groups():
    attention, static = (
        drawn(AttentionDepthwise(DIM, HEADS, KERNEL)),
        drawn(StaticDepthwise(DIM, KERNEL, HEADS)),
    )
    with torch.no_grad():
        attention.query_key.weight[:DIM] = 0
        attention.query_key.bias[:DIM] = 0
        kernels = attention.relative_position_bias_table.softmax(dim=0).T
        static.weight.copy_(kernels.view_as(static.weight))
        static.bias.zero_()
    x = a_map()
    inside = (..., slice(1, -1), slice(1, -1))  # the softmax leaves neighbours off the map out
    torch.testing.assert_close(attention(x)[inside], static(x)[inside])


@pytest.mark.parametrize("norm", ["ln", "bn"])
def test_without_norms_in_the_projections_both_skeletons_are_one_network(norm):
    """The bare sandwich makes queries and keys of the values; undoing the value projection gives
    Swin's.
    """
    swins, bare = (
        drawn(
            create_backbone(
                "sliding_attention_micro", norm=norm, projection_norm=False, **options
            ).get_submodule("stages.3")
        )
        for options in ({}, {"skeleton": "depthwise"})
    )
    swins, bare = swins.blocks[0], bare.blocks[0]
    dim = 128
    with torch.no_grad():
        bare.bn_front.load_state_dict(swins.norm1.state_dict())
        bare.bn.load_state_dict(swins.norm2.state_dict())
        bare.mlp.load_state_dict(swins.mlp.state_dict())
        (query_key, value), (bias, value_bias) = (
            (part[: 2 * dim], part[2 * dim :])
            for part in (swins.mixer.qkv.weight, swins.mixer.qkv.bias)
        )
        operator = bare.mixer.spatial
        undone = query_key @ value.inverse()
        bare.mixer.conv_in.weight.copy_(value[..., None, None])
        bare.mixer.conv_in.bias.copy_(value_bias)
        operator.query_key.weight.copy_(undone[..., None, None])
        operator.query_key.bias.copy_(bias - undone @ value_bias)
        operator.relative_position_bias_table.copy_(swins.mixer.relative_position_bias_table)
        bare.mixer.conv_out.weight.copy_(swins.mixer.proj.weight[..., None, None])
        bare.mixer.conv_out.bias.copy_(swins.mixer.proj.bias)
        assert sum(p.numel() for p in bare.parameters()) == sum(
            p.numel() for p in swins.parameters()
        )
        x = torch.randn(BATCH, 6, 5, dim, dtype=torch.float64)
        torch.testing.assert_close(bare(x), swins(x), atol=1e-6, rtol=1e-6)


def test_in_the_depthwise_skeleton_nothing_but_the_operator_tells_attention_from_linear_weights():
    with torch.device("meta"):
        dots, linear = (
            create_backbone(f"{name}_tiny", **options).state_dict()
            for name, options in (
                ("sliding_attention", {"skeleton": "depthwise"}),
                ("i_dynamic_dwnet", {"group_channels": 32}),
            )
        )
    outside, beside = (
        {key: value.shape for key, value in weights.items() if ".spatial." not in key}
        for weights in (dots, linear)
    )
    assert outside == beside
    assert dots.keys() != linear.keys()


@pytest.mark.parametrize("groups", [1, 2, DIM])
def test_static_is_homogeneous_dynamic_with_a_constant_generator(groups):
    static, dynamic = (
        drawn(StaticDepthwise(DIM, KERNEL, groups)),
        drawn(ImageDepthwise(DIM, KERNEL, groups)),
    )
    with torch.no_grad():
        dynamic.expand.weight.zero_()
        dynamic.expand.bias.copy_(static.weight.flatten())
        dynamic.bias.copy_(static.bias)
    x = a_map()
    torch.testing.assert_close(dynamic(x), static(x))


@pytest.mark.parametrize("groups", [1, 2, DIM])
def test_inhomogeneous_with_constant_maps_is_homogeneous(groups):
    homogeneous, inhomogeneous = (
        drawn(ImageDepthwise(DIM, KERNEL, groups)),
        drawn(PositionDepthwise(DIM, KERNEL, groups)),
    )
    generator = (
        ("squeeze", "weight"),
        ("bn", "weight"),
        ("bn", "bias"),
        ("expand", "weight"),
        ("expand", "bias"),
    )
    with torch.no_grad():
        homogeneous.bias.zero_()
        inhomogeneous.squeeze.bias.zero_()
        for part, name in generator:
            getattr(getattr(inhomogeneous, part), name).copy_(
                getattr(getattr(homogeneous, part), name)
            )
        inhomogeneous.bn.load_state_dict(homogeneous.bn.state_dict())
    # A map that is the same everywhere: every position's features are the mean that the homogeneous
    # one pools.
    x = a_map()[:, :, :1, :1].expand(-1, -1, 6, 5)
    torch.testing.assert_close(inhomogeneous(x), homogeneous(x))


def test_inhomogeneous_weights_that_do_not_change_over_positions_are_a_convolution_per_image():
    x, weight = a_map(), torch.randn(BATCH, 2, KERNEL**2, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(aggregate(x, weight.expand(-1, -1, -1, 6, 5)), aggregate(x, weight))


@pytest.mark.parametrize("positions", [(1, 1), (6, 5)])
@pytest.mark.parametrize("images", [1, BATCH])
def test_sharing_over_channels_with_as_many_groups_as_channels_is_no_sharing(images, positions):
    x, own = a_map(), torch.randn(images, DIM, KERNEL**2, *positions, dtype=torch.float64)
    by_channel = torch.cat(
        [aggregate(x[:, c : c + 1], own[:, c : c + 1]) for c in range(DIM)], dim=1
    )
    torch.testing.assert_close(aggregate(x, own), by_channel)
    shared = torch.randn(images, 2, KERNEL**2, *positions, dtype=torch.float64)
    torch.testing.assert_close(
        aggregate(x, shared), aggregate(x, shared.repeat_interleave(DIM // 2, dim=1))
    )


def test_predicted_weights_in_groups_of_one_channel_are_no_sharing():
    x, features = a_map(), a_map(dim=3)
    projection, bias = (
        torch.randn(DIM * KERNEL**2, *more, dtype=torch.float64) for more in ((3,), ())
    )
    weight = F.conv2d(features, projection[:, :, None, None], bias).unflatten(1, (DIM, -1))
    by_channel = torch.cat(
        [aggregate_reference(x[:, c : c + 1], weight[:, c : c + 1]) for c in range(DIM)], dim=1
    )
    torch.testing.assert_close(aggregate_predicted(x, features, projection, bias, DIM), by_channel)


@pytest.mark.parametrize("window", [3, 5, 7])
def test_sliding_attention_over_twice_a_window_is_window_attention_on_a_map_of_one_window(window):
    x = a_map(window, window).permute(0, 2, 3, 1)
    windows = drawn(WindowAttention(DIM, HEADS, window, shifted=False))
    sliding = drawn(SlidingAttention(DIM, HEADS, 2 * window - 1))
    weights = windows.state_dict()
    # A sliding tap p + k has offset k, the table of windows is written for the offset of the query
    # from the key, -k.
    weights["relative_position_bias_table"] = weights["relative_position_bias_table"].flip(0)
    sliding.load_state_dict(weights)
    torch.testing.assert_close(sliding(x), windows(x))


def test_window_attention_is_a_local_mlp_whose_matrix_is_computed():
    x = torch.randn(1, 6, 6, DIM, dtype=torch.float64)
    attention = drawn(WindowAttention(DIM, HEADS, 3, shifted=True))
    mlp = drawn(WindowMlp(a_place(6, 6), 3, HEADS, shifted=True))
    computed = []
    attention.softmax.register_forward_hook(lambda _, __, out: computed.append(out[0]))
    expected = attention(x)
    with torch.no_grad():
        mlp.weight.copy_(computed[0])
        mlp.value.weight.copy_(attention.qkv.weight[2 * DIM :])
        mlp.value.bias.copy_(attention.qkv.bias[2 * DIM :])
        mlp.proj.load_state_dict(attention.proj.state_dict())
    torch.testing.assert_close(mlp(x), expected)


@pytest.mark.parametrize("shared_windows", [False, True])
def test_a_shifted_local_mlp_does_not_wrap_around_the_map(shared_windows):
    """What the cyclic shift puts into one window from opposite edges does not mix."""
    mlp = drawn(WindowMlp(a_place(6, 6), 3, HEADS, shifted=True, shared_windows=shared_windows))
    x = torch.randn(1, 6, 6, DIM, dtype=torch.float64)
    moved = x.clone()
    moved[0, 0, 0] += 1
    changed = (mlp(moved) - mlp(x)).abs().amax(-1)[0] > 1e-9
    assert changed[0, 0] and not changed[3:].any() and not changed[:, 3:].any()


def test_locally_connected_with_the_same_kernel_everywhere_is_a_depthwise_convolution():
    static, everywhere = (
        drawn(StaticDepthwise(DIM, KERNEL, 2)),
        drawn(StaticPositionwise(a_place(6, 5), KERNEL, 2)),
    )
    with torch.no_grad():
        everywhere.weight.copy_(static.weight.view(2, -1, 1, 1).expand(-1, -1, 6, 5))
        everywhere.bias.copy_(static.bias)
    x = a_map()
    torch.testing.assert_close(everywhere(x), static(x))


def test_local_mlp_with_the_same_matrix_in_every_window_is_shared_over_windows():
    shared, own = (
        drawn(WindowMlp(a_place(6, 9), 3, HEADS, shared_windows=s, row_bias=True))
        for s in (True, False)
    )
    own.load_state_dict(
        {k: v.expand_as(own.state_dict()[k]) for k, v in shared.state_dict().items()}
    )
    x = a_map(6, 9).permute(0, 2, 3, 1)
    torch.testing.assert_close(own(x), shared(x))


def test_a_kernel_of_one_sees_one_position():
    module, x = drawn(StaticDepthwise(DIM, 1, DIM)), a_map()
    expected = x * module.weight.view(1, -1, 1, 1) + module.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(module(x), expected)


def test_windows_as_large_as_the_map_are_global_attention():
    """Nothing but the neighbourhood differs: with one window over the map, Swin's block is the
    global one.
    """
    window, whole = (
        create_backbone(f"{name}_micro", image_size=7 * 32)
        .get_submodule("stages.3.blocks.0")
        .double()
        .eval()
        for name in ("swin", "global_attention")
    )
    weights = drawn(window).state_dict()
    weights["mixer.relative_position_bias_table"] = weights[
        "mixer.relative_position_bias_table"
    ].view(13, 13, -1)
    whole.load_state_dict(weights)
    x = torch.randn(1, 7, 7, 128, dtype=torch.float64)
    torch.testing.assert_close(whole(x), window(x))


SIDE, WINDOW = 28, 7
TRANSLATED = {
    "dwnet": 1,
    "dynamic_dwnet": 1,
    "i_dynamic_dwnet": 1,
    "sliding_attention": 1,
    "swin": WINDOW,
    "local_mlp": WINDOW,
}
"""The steps that a block commutes with; local MLP with weights shared over windows."""


OPTIONS = [
    (mixer, {"shared_windows": True} if mixer == "local_mlp" else {}) for mixer in TRANSLATED
]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(
    ("mixer", "options"), [*OPTIONS, ("sliding_attention", {"skeleton": "depthwise"})], ids=str
)
def test_blocks_commute_with_shifts_away_from_the_border(mixer, options, shifted):
    backbone = create_backbone(f"{mixer}_micro", depths=(2, 1, 1, 1), **options)
    block = drawn(backbone.get_submodule(f"stages.0.blocks.{int(shifted)}"))
    x = torch.randn(1, SIDE, SIDE, 16, dtype=torch.float64)
    step = TRANSLATED[mixer]
    commuting = [shift for shift in (1, 2, 7) if commutes(block, x, shift)]
    assert commuting == [shift for shift in (1, 2, 7) if shift % step == 0]


def commutes(block, x, shift):
    """Whether shifting the map (around its edge) and mixing may change places, where no window
    meets the edge.
    """
    with torch.no_grad():
        late = block(x).roll((shift, shift), dims=(1, 2))
        early = block(x.roll((shift, shift), dims=(1, 2)))
    # What was rolled across the edge, and windows that hold some of it, are left out.
    inside = slice(shift + WINDOW, SIDE - WINDOW)
    assert inside.start < inside.stop
    return torch.allclose(late[:, inside, inside], early[:, inside, inside], atol=1e-9)


def test_weights_per_position_commute_with_no_shift():
    backbone = create_backbone("locally_connected_micro", image_size=4 * SIDE)
    block = drawn(backbone.get_submodule("stages.0.blocks.0"))
    x = torch.randn(1, SIDE, SIDE, 16, dtype=torch.float64)
    assert not any(commutes(block, x, shift) for shift in (1, 2, 7))
