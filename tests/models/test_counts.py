"""Parameters to the unit and operations to the printed digit (paper, section 1.4)."""

import pytest
import torch

from models import create_backbone, create_model
from models.flops import count_flops, count_parameters

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
ROWS = PUBLISHED + [(name, k, *row) for k, *rows in SWEEP for name, row in zip(SWEPT, rows, strict=True)]


@pytest.mark.parametrize(("name", "kernel_size", "parameters", "giga"), ROWS)
def test_parameters_and_operations_are_the_published_ones(on_meta, name, kernel_size, parameters, giga):
    model = on_meta(name, kernel_size=kernel_size)
    assert count_parameters(model) == parameters
    flops = count_flops(model, 224)
    assert flops["rule"] == "flops()"
    assert round(flops["total"] / 1e9, 3) == giga


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [({"groups": (3, 6, 12, 24)}, 23_963_122), ({"group_channels": 32}, 23_963_122)],
)
def test_kernels_shared_in_head_groups(on_meta, overrides, parameters):
    assert count_parameters(on_meta("dwnet_tiny", **overrides)) == parameters


def test_groups_as_many_as_heads_is_another_model(on_meta):
    model = on_meta("i_dynamic_dwnet_tiny", groups=(3, 6, 12, 24))
    assert round(count_parameters(model) / 1e6, 2) == 25.33
    assert round(count_flops(model, 224)["total"] / 1e9, 2) == 3.96


def test_backbones_are_counted_by_the_same_rule():
    with torch.device("meta"):
        whole, backbone = create_model("dwnet_micro"), create_backbone("dwnet_micro")
    head = 4 * 4 * 128 * 4 + 128 * 1000
    assert count_flops(whole, 128)["total"] - count_flops(backbone, (128, 128))["total"] == head


def test_counting_leaves_the_model_as_it_was():
    model = create_model("dwnet_micro", 10)
    model.backbone.stem.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_flops(model, 64)
    assert model.training and not model.backbone.stem.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_baselines_are_counted_in_multiply_adds():
    pytest.importorskip("timm")
    with torch.device("meta"):
        model = create_model("timm:resnet18", num_classes=1000)
    assert count_flops(model, 224) == {"rule": "macs", "total": pytest.approx(1.814e9, rel=1e-3)}
