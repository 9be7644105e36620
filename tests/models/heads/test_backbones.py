"""Defaults of the backbones under the heads, and which networks of other people fit."""

import pytest
import torch
from torch import nn

from models.heads.backbones import dense_backbone
from models.mixers.local_mlp import WindowMlp
from models.mixers.swin import WindowAttention
from models.network.backbone import Backbone
from models.registry import build_backbone


def layout(name, **overrides):
    with torch.device("meta"):
        backbone = dense_backbone(name, overrides)
    assert isinstance(backbone, Backbone)
    return backbone.layout.output_norm, backbone.layout.pad_to


@pytest.mark.parametrize("mixer", ["dwnet", "dynamic_dwnet", "i_dynamic_dwnet"])
def test_depthwise_backbones_have_the_authors_norms_and_padding(mixer):
    assert layout(f"{mixer}_micro") == ("bn", 7)


@pytest.mark.parametrize("mixer", ["swin", "sliding_attention"])
def test_attention_has_swins(mixer):
    assert layout(f"{mixer}_micro") == ("ln", 1)


@pytest.mark.parametrize("size", [(3, 4), (6, 8), (7, 7), (5, 9)])
@pytest.mark.parametrize("index", [0, 1])
def test_windows_of_swin_are_whole_on_small_maps_as_in_its_downstream_backbone(size, index):
    backbone = dense_backbone("swin_micro", {"kernel_size": 7, "depths": (2, 2, 2, 2)})
    mixer = backbone.get_submodule(f"stages.1.blocks.{index}.mixer")
    assert isinstance(mixer, WindowAttention) and mixer.relative_position_bias_table is not None
    nn.init.normal_(mixer.relative_position_bias_table)
    x = torch.randn(2, *size, mixer.dim)
    for training in (True, False):
        with torch.no_grad():
            expected = attention_in_whole_windows(mixer.train(training), x, shift=3 * index)
            torch.testing.assert_close(mixer(x), expected, atol=1e-5, rtol=1e-5)


def attention_in_whole_windows(mixer, x, shift):
    """Official Swin's downstream rule as one matrix over all positions of the map, filled up to
    multiples of 7.
    """
    batch, height, width, dim = x.shape
    x = nn.functional.pad(x, (0, 0, 0, -width % 7, 0, -height % 7))
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(*map(torch.arange, x.shape[1:3]), indexing="ij")
    )
    row, column = (
        (rows - shift) % x.shape[1],
        (columns - shift) % x.shape[2],
    )  # where the shift puts them
    place = torch.stack((row // 7, column // 7, rows < shift, columns < shift))
    together = (place[:, :, None] == place[:, None, :]).all(dim=0)
    offset = 13 * (row % 7 - row[:, None] % 7 + 6) + column % 7 - column[:, None] % 7 + 6
    bias = mixer.relative_position_bias_table[offset.T].permute(2, 0, 1)
    query, key, value = (
        mixer.qkv(x.flatten(1, 2)).unflatten(2, (3, mixer.heads, -1)).permute(2, 0, 3, 1, 4)
    )
    scores = query @ key.transpose(-2, -1) * mixer.scale + bias
    weight = scores.masked_fill(~together, -torch.inf).softmax(dim=-1)
    mixed = mixer.proj((weight @ value).transpose(1, 2).flatten(2))
    return mixed.view(batch, *x.shape[1:3], dim)[:, :height, :width]


def test_windows_shrink_to_small_maps_in_classifiers_alone():
    options = {"shared_windows": True, "kernel_size": 7, "depths": (2, 1, 1, 1)}
    dense = dense_backbone("local_mlp_micro", options)
    classifier = build_backbone("local_mlp_micro", options)
    x = torch.randn(1, 4, 4, classifier.channels[0])
    found = [network.get_submodule("stages.0.blocks.1.mixer") for network in (dense, classifier)]
    mixers = [mixer for mixer in found if isinstance(mixer, WindowMlp)]
    assert [mixer.shrink for mixer in mixers] == [False, True]
    mixers[1].load_state_dict(mixers[0].state_dict())
    with torch.no_grad():
        assert not torch.allclose(mixers[0](x), mixers[1](x))  # shifted, and not


def test_the_skeleton_decides_and_not_the_mixers_name():
    assert layout("sliding_attention_micro", skeleton="depthwise") == ("bn", 7)


def test_maps_are_filled_up_to_the_kernels_side_as_the_authors_window_is_the_kernel():
    assert layout("dwnet_micro", kernel_size=9) == ("bn", 9)
    assert layout("dwnet_micro", kernel_size=(3, 5, 7, 7)) == ("bn", 7)


def test_overrides_win():
    assert layout("dwnet_micro", output_norm="ln", pad_to=1) == ("ln", 1)
    assert layout("swin_micro", output_norm=None) == (None, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dwnet_tny", "did you mean 'dwnet_tiny'"),
        (
            "timm:test_vit",
            "needs maps at strides 4, 8, 16, 32, but those of timm:test_vit are at 16",
        ),
        ("timm:nest_tiny", "but those of timm:nest_tiny are at 4, 8, 16"),
        ("timm:resnett18", "did you mean 'resnet18'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(name, words):
    with pytest.raises(ValueError) as error:
        layout(name)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_networks_of_timm_can_be_detectors_and_segmenters(detector, segmenter, target):
    images = torch.randn(2, 3, 64, 64)
    losses = detector("timm:resnet10t")(
        images, [(64, 64)] * 2, [target([[4, 4, 40, 30]], 64, 64)] * 2
    )
    assert torch.stack(list(losses.values())).isfinite().all()
    assert segmenter("timm:resnet10t")(images)["logits"].shape == (2, 3, 16, 16)
