"""Defaults of the backbones under the heads, and which networks of other people fit."""

import pytest
import torch

from models.heads.backbones import dense_backbone


def layout(name, **overrides):
    with torch.device("meta"):
        found = dense_backbone(name, overrides).layout
    return found.output_norm, found.pad_to


@pytest.mark.parametrize("mixer", ["dwnet", "dynamic_dwnet", "i_dynamic_dwnet"])
def test_depthwise_backbones_have_the_authors_norms_and_padding(mixer):
    assert layout(f"{mixer}_micro") == ("bn", 7)


@pytest.mark.parametrize("mixer", ["swin", "sliding_attention"])
def test_attention_has_swins(mixer):
    assert layout(f"{mixer}_micro") == ("ln", 1)


def test_the_skeleton_decides_and_not_the_mixers_name():
    assert layout("sliding_attention_micro", skeleton="depthwise") == ("bn", 7)


def test_overrides_win():
    assert layout("dwnet_micro", output_norm="ln", pad_to=1) == ("ln", 1)
    assert layout("swin_micro", output_norm=None) == (None, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dwnet_tny", "did you mean 'dwnet_tiny'"),
        ("timm:test_vit", "needs maps at strides 4, 8, 16, 32, but those of timm:test_vit are at 16"),
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
    losses = detector("timm:resnet10t")(images, [(64, 64)] * 2, [target([[4, 4, 40, 30]], 64, 64)] * 2)
    assert torch.stack(list(losses.values())).isfinite().all()
    assert segmenter("timm:resnet10t")(images)["logits"].shape == (2, 3, 16, 16)
