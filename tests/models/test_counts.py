"""Parameters to the unit and operations to the printed digit (paper, sections 1.4 and 3.2)."""

import pytest
import torch

from models import create_backbone, create_model
from models.counting.macs import count_macs, count_parameters
from models.network.spec import Switches

# Name, kernel size, parameters, operations in units of 1e9 by the rule `flops()`.
PUBLISHED = [
    ("dwnet_tiny", 7, 24_172_744, 3.742),
    ("dynamic_dwnet_tiny", 7, 51_131_752, 3.771),
    ("i_dynamic_dwnet_tiny", 7, 26_244_280, 4.389),
    ("dwnet_base", 7, 74_347_112, 12.845),
    ("dynamic_dwnet_base", 7, 161_597_928, 12.935),
    ("i_dynamic_dwnet_base", 7, 80_253_608, 14.372),
    ("swin_tiny", 7, 28_288_354, 4.494),
    ("swin_small", 7, 49_606_258, 8.747),
    ("swin_base", 7, 87_768_224, 15.438),
    ("dwnet_small", 7, 42_157_768, 7.264),
    ("dynamic_dwnet_small", 7, 91_237_480, 7.315),
    ("i_dynamic_dwnet_small", 7, 46_269_880, 8.352),
]
SWEEP = [
    (3, (23_996_104, 3.685), (29_389_672, 3.692), (24_815_800, 3.875), (73_865_832, 12.720)),
    (5, (24_066_760, 3.708), (38_086_504, 3.723), (25_387_192, 4.081), (74_058_344, 12.770)),
    (9, (24_314_056, 3.788), (68_525_416, 3.834), (27_387_064, 4.801), (74_732_136, 12.944)),
    (11, (24_490_696, 3.845), (90_267_496, 3.912), (28_815_544, 5.316), (75_213_416, 13.069)),
    (13, (24_702_664, 3.914), (116_357_992, 4.007), (30_529_720, 5.934), (75_790_952, 13.218)),
]
SWEPT = ("dwnet_tiny", "dynamic_dwnet_tiny", "i_dynamic_dwnet_tiny", "dwnet_base")
ROWS = PUBLISHED + [
    (name, k, *row) for k, *rows in SWEEP for name, row in zip(SWEPT, rows, strict=True)
]


@pytest.mark.parametrize(("name", "kernel_size", "parameters", "giga"), ROWS)
def test_parameters_and_operations_are_the_published_ones(
    on_meta, name, kernel_size, parameters, giga
):
    model = on_meta(name, kernel_size=kernel_size)
    assert count_parameters(model) == parameters
    macs = count_macs(model, 224)
    assert macs["rule"] == "flops()"
    assert round(macs["total"] / 1e9, 3) == giga


HEADS_T, HEADS_B = (3, 6, 12, 24), (4, 8, 16, 32)
SHARED_WINDOWS, CHANNELS = {"shared_windows": True}, {"group_channels": 1}
# Mixer, options, parameters of tiny and base.
SHARING = [
    ("local_mlp", {}, 26_132_824, 78_485_032),
    ("local_mlp", {"row_bias": True}, 26_132_824 + 44_688, 78_485_032 + 97_216),
    ("local_mlp", {"group_channels": 32}, 26_132_824, 78_485_032),
    ("local_mlp", SHARED_WINDOWS, 24_274_450, 74_624_224),
    ("local_mlp", SHARED_WINDOWS | {"row_bias": True}, 24_274_450 + 6_762, 74_624_224 + 18_424),
    ("local_mlp", SHARED_WINDOWS | CHANNELS, 34_545_928, 102_610_280),
    (
        "local_mlp",
        SHARED_WINDOWS | CHANNELS | {"row_bias": True},
        34_545_928 + 216_384,
        102_610_280 + 589_568,
    ),
    ("local_mlp", CHANNELS, 94_013_896, 226_156_136),
    ("dwnet", {}, 24_172_744, 74_347_112),
    ("dwnet", {"group_channels": 32}, 23_963_122, 73_775_968),
    ("locally_connected", {"group_channels": 32}, 26_146_072, 78_521_128),
    ("locally_connected", {}, 94_027_144, 226_192_232),
]


@pytest.mark.parametrize(("mixer", "options", "tiny", "base"), SHARING, ids=str)
def test_sharing_over_channels_and_positions_costs_what_it_costs(
    on_meta, mixer, options, tiny, base
):
    assert count_parameters(on_meta(f"{mixer}_tiny", **options)) == tiny
    assert count_parameters(on_meta(f"{mixer}_base", **options)) == base


@pytest.mark.parametrize(
    ("mixer", "tiny", "base"),
    [("local_mlp", 23_943_112, 73_721_448), ("dwnet", 23_951_944, 73_745_512)],
)
def test_the_rest_of_the_network_without_any_spatial_weights(on_meta, mixer, tiny, base):
    for size, expected in (("tiny", tiny), ("base", base)):
        model = on_meta(f"{mixer}_{size}")
        operators = [m for m in model.modules() if isinstance(vars(m).get("switches"), Switches)]
        spatial = sum(p.numel() for m in operators for p in m._parameters.values() if p is not None)
        assert count_parameters(model) - spatial == expected


def test_groups_can_be_said_as_heads(on_meta):
    assert count_parameters(on_meta("dwnet_tiny", groups=HEADS_T)) == 23_963_122
    assert count_parameters(on_meta("dwnet_base", groups=HEADS_B)) == 73_775_968


# Channels that share a matrix; millions of parameters with weights for every window, and shared
# over windows.
GROUPS = [
    (1, 94.0, 34.5),
    (2, 59.0, 29.2),
    (4, 41.5, 26.6),
    (6, 35.6, 25.7),
    (8, 32.7, 25.3),
    (16, 28.3, 24.6),
    (24, 26.9, 24.4),
    (32, 26.1, 24.3),
    (48, 25.4, 24.2),
    (96, 24.7, 24.1),
]


@pytest.mark.parametrize(("channels", "own", "shared"), GROUPS)
def test_local_mlp_by_channels_in_a_group(on_meta, channels, own, shared):
    for options, expected in (({}, own), ({"shared_windows": True}, shared)):
        model = on_meta("local_mlp_tiny", group_channels=channels, **options)
        assert round(count_parameters(model) / 1e6, 1) == expected


def sandwich(c):
    """Two 1x1 convolutions with three norms, and the norm in front of the feed-forward part."""
    return 2 * c * c + 8 * c


def pre_norm(c):
    """Two norms."""
    return 4 * c


# Mixer, options, and the parameters of one block but for its feed-forward part: C channels, G
# groups, map of S x S.
FORMULAS = [
    ("dwnet", {}, sandwich, lambda c, g, s: 49 * g + c),
    ("locally_connected", {}, sandwich, lambda c, g, s: 49 * g * s * s + c),
    (
        "dynamic_dwnet",
        {},
        sandwich,
        lambda c, g, s: c * c // 4 + c // 2 + 49 * g * (c // 4 + 1) + c,
    ),
    (
        "i_dynamic_dwnet",
        {},
        sandwich,
        lambda c, g, s: c * c // 4 + c // 4 + c // 2 + 49 * g * (c // 4 + 1),
    ),
    (
        "sliding_attention",
        {"skeleton": "depthwise"},
        sandwich,
        lambda c, g, s: 2 * c * c + 2 * c + 49 * g,
    ),
    ("sliding_attention", {}, pre_norm, lambda c, g, s: 4 * c * c + 4 * c + 49 * g),
    ("swin", {}, pre_norm, lambda c, g, s: 4 * c * c + 4 * c + 169 * g),
    ("global_attention", {}, pre_norm, lambda c, g, s: 4 * c * c + 4 * c + (2 * s - 1) ** 2 * g),
    (
        "local_mlp",
        {},
        pre_norm,
        lambda c, g, s: 2 * c * c + 2 * c + 49 * 49 * g * (-(-s // 7)) ** 2,
    ),
]
# Size, width, depths, pixels.
NETWORKS = [
    ("micro", 16, (1, 1, 2, 1), 32),
    ("micro", 16, (1, 1, 2, 1), 64),
    ("tiny", 96, (2, 2, 6, 2), 224),
]


@pytest.mark.parametrize(
    "shared", [1, {"micro": 4, "tiny": 32}, None], ids=["own", "groups", "all"]
)
@pytest.mark.parametrize(("size", "width", "depths", "pixels"), NETWORKS)
@pytest.mark.parametrize(("mixer", "options", "skeleton", "spatial"), FORMULAS)
def test_every_sharing_over_channels_by_formula(
    on_meta, mixer, options, skeleton, spatial, size, width, depths, pixels, shared
):
    channels = shared[size] if isinstance(shared, dict) else shared
    attention = mixer in ("swin", "sliding_attention", "global_attention")
    everywhere = {"num_heads": (1, 1, 1, 1)} if attention else {"groups": 1}
    options = {**options, **({"group_channels": channels} if channels else everywhere)}
    expected = 48 * width + 3 * width + 2 * 8 * width + 8 * width * 1000 + 1000
    for stage, depth in enumerate(depths):
        c, s = width * 2**stage, pixels // 4 // 2**stage
        groups = c // channels if channels else 1
        expected += depth * (skeleton(c) + spatial(c, groups, s) + 8 * c * c + 5 * c)
        expected += 8 * c + 8 * c * c if stage < 3 else 0
    assert count_parameters(on_meta(f"{mixer}_{size}", image_size=pixels, **options)) == expected


@pytest.mark.parametrize(
    "skeleton", [{}, {"skeleton": "attention"}, {"skeleton": "depthwise"}], ids=str
)
def test_position_biases_can_be_left_out(on_meta, skeleton):
    models = [
        on_meta("sliding_attention_tiny", **skeleton, position_bias=given)
        for given in (True, False)
    ]
    with_table, without = map(count_parameters, models)
    assert with_table - without == 49 * (2 * 3 + 2 * 6 + 6 * 12 + 2 * 24)


# The bias tables alone change: 169 numbers a head, and tiny has 138 heads, base 376.
BY_HEAD = [
    ("swin_tiny", 16, 28_288_354 + 169 * 138),
    ("swin_tiny", 32, 28_288_354),
    ("swin_tiny", 48, 28_288_354 - 169 * 138 // 3),
    ("swin_tiny", 96, 28_288_354 - 169 * 138 * 2 // 3),
    ("swin_base", 64, 87_768_224 - 169 * 376 // 2),
]


@pytest.mark.parametrize(("name", "channels", "parameters"), BY_HEAD)
def test_attention_by_channels_of_a_head(on_meta, name, channels, parameters):
    assert count_parameters(on_meta(name, group_channels=channels)) == parameters


def test_attention_in_the_depthwise_skeleton_counted_by_hand():
    """8x8 pixels, 4 channels, one block a stage on maps of 2, 1, 1, 1."""
    with torch.device("meta"):
        model = create_backbone(
            "sliding_attention_micro",
            skeleton="depthwise",
            embed_dim=4,
            depths=(1, 1, 1, 1),
            num_heads=(1, 2, 4, 8),
        )
    stages = [(4, 4, 1), (1, 8, 2), (1, 16, 4), (1, 32, 8)]  # tokens, channels, heads
    merged = [(1, 16, 8), (1, 32, 16), (1, 64, 32)]
    official, full = count_macs(model, 8), count_macs(model, 8, "full")
    convolution = 4 * 4 * 48 + sum(n * 4 * c * c for n, c, _ in stages)
    linear = sum(n * 8 * c * c for n, c, _ in stages) + sum(n * a * b for n, a, b in merged)
    assert (official["convolution"], official["linear"]) == (convolution, linear)
    assert official["mixing"] == full["mixing"] == sum(2 * n * c * 49 for n, c, _ in stages)
    assert official["norm"] == 4 * 4 + sum(10 * n * c for n, c, _ in stages) + sum(
        n * a for n, a, _ in merged
    )
    assert full["convolution"] == convolution + 4 * 4 + sum(n * 2 * c for n, c, _ in stages)
    assert full["linear"] == linear + sum(n * 5 * c for n, c, _ in stages)
    assert full["norm"] == 2 * (
        4 * 4 + sum(4 * n * c for n, c, _ in stages) + sum(n * a for n, a, _ in merged)
    )
    assert full["activation"] == sum(n * (2 * c + 4 * c + heads * 49) for n, c, heads in stages)


FULL = [
    ("dwnet_tiny", 3.757),
    ("dynamic_dwnet_tiny", 3.785),
    ("i_dynamic_dwnet_tiny", 4.42),
    ("dwnet_base", 12.877),
    ("dynamic_dwnet_base", 12.965),
    ("i_dynamic_dwnet_base", 14.42),
]


@pytest.mark.parametrize(("name", "giga"), FULL)
def test_operations_with_everything_counted(on_meta, name, giga):
    assert count_macs(on_meta(name), 224, "full")["total"] / 1e9 == pytest.approx(giga, rel=0.005)


# What two published networks differ by lies in their backbones: the heads are the same. Giga, from
# rounded numbers. Image size, one network, the other, their published difference, and how far
# rounding and recollection may be off.
DOWNSTREAM = [
    ((512, 2048), "dynamic_dwnet_tiny", "dwnet_tiny", 928.5 - 928.4, 0.1),
    ((512, 2048), "dynamic_dwnet_base", "dwnet_base", 1129.7 - 1129.6, 0.1),
    ((512, 2048), "swin_tiny", "dwnet_tiny", 947 - 928.4, 0.5),
    ((512, 2048), "swin_base", "dwnet_base", 1192 - 1129.6, 0.6),
    ((800, 1280), "dynamic_dwnet_tiny", "dwnet_tiny", 730.3 - 730.2, 0.1),
    ((800, 1280), "swin_tiny", "dwnet_tiny", 747 - 730.2, 0.8),
    ((800, 1280), "swin_base", "dwnet_base", 986 - 925.2, 0.8),
]


@pytest.mark.parametrize(("image_size", "one", "other", "giga", "off"), DOWNSTREAM)
def test_the_downstream_rule_gives_the_published_differences(image_size, one, other, giga, off):
    def backbone(name):
        own = {"output_norm": "ln"} if "swin" in name else {"output_norm": "bn", "pad_to": 7}
        with torch.device("meta"):
            return count_macs(create_backbone(name, **own), image_size, "downstream")["total"] / 1e9

    assert backbone(one) - backbone(other) == pytest.approx(giga, abs=off)


def test_the_downstream_rule_counts_by_its_prices():
    """A network small enough to count by hand: 8x8 pixels, 4 channels, one block a stage on maps of
    2, 1, 1, 1.
    """
    with torch.device("meta"):
        model = create_backbone(
            "swin_micro", embed_dim=4, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)
        )
    counted = count_macs(model, 8, "downstream")
    stages = [(4, 4, 2), (1, 8, 1), (1, 16, 1), (1, 32, 1)]  # tokens, channels, side of the window
    merged = [(1, 16, 8), (1, 32, 16), (1, 64, 32)]
    assert counted["convolution"] == 4 * 4 * 48 + 4 * 4
    assert counted["linear"] == sum(n * 12 * c * c for n, c, _ in stages) + sum(
        n * a * b for n, a, b in merged
    )
    assert counted["mixing"] == sum(2 * n * c * side**2 for n, c, side in stages)
    assert counted["norm"] == 2 * (
        4 * 4 + sum(2 * n * c for n, c, _ in stages) + sum(n * a for n, a, _ in merged)
    )
    assert counted["activation"] == sum(15 * n * 4 * c + 5 * n * side**2 for n, c, side in stages)
    assert (
        counted["total"]
        == sum(value for value in counted.values() if isinstance(value, int)) - counted["total"]
    )


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("swin_micro", {"norm": "bn", "projection_norm": True, "se": True}, "downstream"),
        ("dwnet_micro", {"norm": "ln", "projection_norm": False}, "downstream"),
        ("dwnet_micro", {"norm": "ln"}, "flops()"),
    ],
)
def test_options_are_counted_too(on_meta, name, options, rule):
    plain = count_macs(on_meta(name), 64, rule)
    other = count_macs(on_meta(name, **options), 64, rule)
    same_kind = options == {"norm": "ln"}
    assert (other["norm"] == plain["norm"]) is same_kind
    assert other["total"] == sum(other[part] for part in other if part not in ("rule", "total"))


def test_an_unknown_rule_is_refused(on_meta):
    with pytest.raises(
        ValueError, match=r"no counting rule 'flop'; known are flops\(\), full, downstream"
    ):
        count_macs(on_meta("dwnet_micro"), 64, "flop")


def test_groups_as_many_as_heads_is_another_model(on_meta):
    model = on_meta("i_dynamic_dwnet_tiny", groups=(3, 6, 12, 24))
    assert round(count_parameters(model) / 1e6, 2) == 25.33
    assert round(count_macs(model, 224)["total"] / 1e9, 2) == 3.96


def test_backbones_are_counted_by_the_same_rule():
    with torch.device("meta"):
        whole, backbone = create_model("dwnet_micro"), create_backbone("dwnet_micro")
    head = 4 * 4 * 128 * 4 + 128 * 1000
    assert count_macs(whole, 128)["total"] - count_macs(backbone, (128, 128))["total"] == head


def test_counting_leaves_the_model_as_it_was():
    model = create_model("dwnet_micro", 10)
    stem = model.get_submodule("backbone.stem").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_macs(model, 64)
    assert model.training and not stem.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_baselines_are_counted_in_multiply_adds():
    pytest.importorskip("timm")
    with torch.device("meta"):
        model = create_model("timm:resnet18", num_classes=1000)
    assert count_macs(model, 224) == {"rule": "macs", "total": pytest.approx(1.814e9, rel=1e-3)}
