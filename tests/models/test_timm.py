"""timm builds, loads and takes apart the networks of this package as its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from helpers import PROJECT
from PIL import Image
from torch import nn

import models
import models.timm
from models.network.backbone import Classifier

MICRO = [name for name in models.list_models() if name.endswith("_micro")]
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MICRO)
def test_timms_network_is_ours(name: str) -> None:
    torch.manual_seed(0)
    ours = models.create_model(name, num_classes=7).eval()
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=7).eval()
    assert isinstance(ours, Classifier)
    torch.testing.assert_close(theirs(IMAGES), ours(IMAGES))
    assert theirs.pretrained_cfg["architecture"] == name
    assert theirs.pretrained_cfg["input_size"] == ours.pretrained_cfg["input_size"] == (3, 64, 64)


@pytest.mark.parametrize("name", MICRO)
def test_a_classifier_comes_apart_as_timms_do(name: str) -> None:
    model = timm.create_model(name, num_classes=5).eval()
    logits, tokens = model(IMAGES), model.forward_features(IMAGES)
    torch.testing.assert_close(model.forward_head(tokens), logits)
    means = model.forward_head(tokens, pre_logits=True)
    assert means.shape == (2, model.num_features) == (2, 128)
    torch.testing.assert_close(model.get_classifier()(means), logits)

    model.reset_classifier(3)
    assert model(IMAGES).shape == (2, 3) and model.num_classes == 3
    model.reset_classifier(0)
    torch.testing.assert_close(model(IMAGES), means)
    assert isinstance(timm.create_model(name, num_classes=0).get_classifier(), nn.Identity)


@pytest.mark.parametrize("name", MICRO)
def test_features_are_the_maps_of_the_backbone(name: str) -> None:
    torch.manual_seed(0)
    backbone = models.create_backbone(name).eval()
    torch.manual_seed(0)
    features = timm.create_model(name, features_only=True).eval()
    for found, expected in zip(features(IMAGES), backbone(IMAGES), strict=True):
        torch.testing.assert_close(found, expected)
    assert tuple(features.feature_info.channels()) == backbone.channels
    assert features.feature_info.reduction() == [4, 8, 16, 32]
    last = timm.create_model(name, features_only=True, out_indices=(1, -1)).eval()
    assert [part.shape[1] for part in last(IMAGES)] == [32, 128]
    model = models.create_model(name)
    assert isinstance(model, Classifier)
    tokens, maps = model.forward_intermediates(IMAGES, indices=1, norm=True)
    torch.testing.assert_close(maps[0], tokens.permute(0, 3, 1, 2))


def test_timms_options_are_ours_or_refused() -> None:
    model = timm.create_model("locally_connected_micro", img_size=48, drop_path_rate=0.1)
    assert model.backbone.layout.image_size == (48, 48)
    for options, words in (
        ({"in_chans": 1}, "images of 3 channels"),
        ({"global_pool": "max"}, "averages its tokens"),
        ({"kernal_size": 3}, "did you mean 'kernel_size'"),
    ):
        with pytest.raises(ValueError, match=words):
            timm.create_model("dwnet_micro", **options)
    assert "dwnet_tiny" in timm.list_models("*dwnet*")


@pytest.mark.parametrize("variant", ["dwnet", "swin", "locally_connected", "timm"])
def test_timm_loads_a_published_folder(trained: Path, variant: str) -> None:
    folder = trained / "results" / "classify" / variant
    ours = models.load(folder)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(theirs(images), ours(images))
    assert tuple(theirs.pretrained_cfg["label_names"]) == ours.classes

    config = timm.data.resolve_model_data_config(theirs)
    picture = Image.effect_noise((90, 70), 90).convert("RGB")
    transform = timm.data.create_transform(**config)
    torch.testing.assert_close(transform(picture), vars(ours)["transform"](picture))


def test_the_package_itself_imports_neither_torch_nor_timm() -> None:
    program = "import models, sys; assert not {'torch', 'timm', 'models.timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True)
