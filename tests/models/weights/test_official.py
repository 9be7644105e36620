"""The authors' weights: every name of theirs finds its place, and the network computes what theirs
does.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch

from models import create_backbone, create_model
from models.weights.official import _rename, convert, convert_backbone

MINI = {"embed_dim": 16, "depths": (1, 1, 2, 1)}
FIXTURES = [("dwnet", {}), ("dynamic_dwnet", {}), ("i_dynamic_dwnet", {"groups": 8})]
RELEASED = [
    f"{mixer}_{size}"
    for mixer in ("dwnet", "dynamic_dwnet", "i_dynamic_dwnet", "swin")
    for size in ("tiny", "base")
]
MOMENTUM = 0.1


@pytest.fixture
def official(reference):
    """Official names and shapes of one network, as a state dict without memory."""

    def build(name):
        listed = json.loads(reference("official_state_dicts.json").read_text())[name]["state_dict"]
        return {
            key: torch.empty(shape, dtype=getattr(torch, kind), device="meta")
            for key, (kind, *shape) in listed.items()
        }

    return build


@pytest.mark.parametrize("name", RELEASED)
def test_every_official_name_converts(official, on_meta, name):
    model = on_meta(name)
    weights = convert(official(name), name)
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }


def test_wrapped_and_prefixed_weights_convert(official):
    weights = official("dwnet_tiny")
    wrapped = {"epoch": 299, "model": {f"module.{key}": value for key, value in weights.items()}}
    assert convert(wrapped, "dwnet_tiny").keys() == convert(weights, "dwnet_tiny").keys()
    assert (
        convert({"state_dict": weights}, "dwnet_tiny").keys()
        == convert(weights, "dwnet_tiny").keys()
    )


def test_number_of_classes_is_read_from_the_head(official):
    weights = official("dwnet_tiny")
    weights["head.weight"], weights["head.bias"] = torch.empty(10, 768), torch.empty(10)
    assert convert(weights, "dwnet_tiny")["head.weight"].shape == (10, 768)


def test_what_does_not_fit_is_named(official):
    weights = official("dwnet_tiny")
    del weights["norm.bias"]
    weights["surplus"] = torch.empty(1)
    weights["patch_embed.norm.weight"] = torch.empty(5)
    with pytest.raises(ValueError) as error:
        convert(weights, "dwnet_tiny")
    message = str(error.value)
    assert "1 missing: norm.bias" in message
    assert "1 unexpected: surplus" in message
    assert "backbone.stem.norm.weight (5,) for (96,)" in message


@pytest.mark.parametrize(
    ("given", "wanted", "overrides", "guess"),
    [
        ("dynamic_dwnet_tiny", "dwnet_tiny", {}, "they are those of dynamic_dwnet_tiny"),
        ("dwnet_base", "dwnet_tiny", {}, "they are those of dwnet_base"),
        ("swin_tiny", "i_dynamic_dwnet_tiny", {}, "they are those of swin_tiny"),
        (
            "i_dynamic_dwnet_base",
            "dynamic_dwnet_base",
            {},
            "they are those of i_dynamic_dwnet_base",
        ),
        (
            "dwnet_tiny",
            "dwnet_tiny",
            {"kernel_size": 9},
            "do not fit dwnet_tiny: 12 of another shape",
        ),
    ],
)
def test_weights_of_another_network_are_refused_with_the_nearest_guess(
    official, given, wanted, overrides, guess
):
    with pytest.raises(ValueError, match=f"do not fit {wanted}") as error:
        convert(official(given), wanted, **overrides)
    assert guess in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_are_nearly_those_of_another_network_are_guessed(official):
    weights = official("dynamic_dwnet_tiny")
    del weights["layers.0.blocks.0.bn.weight"]
    with pytest.raises(ValueError, match="they are nearest to those of dynamic_dwnet_tiny"):
        convert(weights, "dwnet_tiny")


def test_what_is_no_network_is_not_guessed():
    with pytest.raises(ValueError, match="do not fit dwnet_tiny: "):
        convert({"weight": torch.ones(1)}, "dwnet_tiny")
    contents: list[Any] = [{}, {"model": {}}, 7, {"model": 7}, {"epoch": 3}]  # of any file
    for empty in contents:
        with pytest.raises(ValueError, match="no weights in it"):
            convert(empty, "dwnet_tiny")


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_the_names_of_timm_are_understood(on_meta, size):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        peer = timm.create_model(f"swin_{size}_patch4_window7_224", pretrained=False)
    weights = convert(peer.state_dict(), f"swin_{size}")
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape for key, value in on_meta(f"swin_{size}").state_dict().items()
    }


@pytest.mark.parametrize(
    ("name", "output_norm", "prefix"),
    [
        ("dwnet_tiny", "bn", "backbone."),
        ("dynamic_dwnet_base", "bn", ""),
        ("swin_tiny", "ln", "backbone."),
    ],
)
def test_the_backbone_of_a_detector_converts(official, name, output_norm, prefix):
    """Downstream files: no `norm` and `head`, one norm for each map, a detector's own weights
    beside them.
    """
    weights = {
        key: value
        for key, value in official(name).items()
        if not key.startswith(("norm.", "head."))
    }
    for stage in range(4):
        width = weights["patch_embed.norm.weight"].shape[0] * 2**stage
        statistics = {"running_mean": (width,), "running_var": (width,), "num_batches_tracked": ()}
        for part, shape in {
            "weight": (width,),
            "bias": (width,),
            **(statistics if output_norm == "bn" else {}),
        }.items():
            weights[f"norm{stage}.{part}"] = torch.empty(shape, device="meta")
    file = {"state_dict": {f"{prefix}{key}": value for key, value in weights.items()}}
    if prefix:
        file["state_dict"]["neck.convs.0.weight"] = torch.empty(1, device="meta")
    options = {"output_norm": output_norm, "pad_to": 7}
    with torch.device("meta"):
        backbone = create_backbone(name, **options)
    backbone.load_state_dict(convert_backbone(file, name, **options), assign=True)
    with pytest.raises(ValueError, match=r"do not fit .* unexpected: output_norms"):
        convert_backbone(file, name)


@pytest.fixture(params=FIXTURES, ids=lambda param: param[0])
def parity(reference, request):
    """A small official network: its files, our network with its weights, and the parameters'
    official names.
    """
    mixer, options = request.param
    data = np.load(reference(f"parity/{mixer}_mini.npz"))
    tensors = {key: torch.from_numpy(data[key]) for key in data.files}
    weights = {key[3:]: value for key, value in tensors.items() if key.startswith("sd/")}
    overrides = {**MINI, **options}
    model = create_model(f"{mixer}_tiny", num_classes=10, drop_path_rate=0.0, **overrides)
    model.load_state_dict(convert(weights, f"{mixer}_tiny", **overrides))
    return model, tensors


def in_layout(x, layout):
    return x.contiguous(memory_format=getattr(torch, layout))


def before_the_training_step(model, x):
    """Takes one batch back out of the running statistics.

    The fixtures' statistics were saved after the batch behind `logits_train` had gone into them,
    `logits_eval` was computed before it.
    """
    names = [key for key in model.state_dict() if "running_" in key]
    after = {key: model.state_dict()[key].double() for key in names}
    model.train()
    with torch.no_grad():
        model(x)
    for key in names:
        batch = (model.state_dict()[key].double() - (1 - MOMENTUM) * after[key]) / MOMENTUM
        model.state_dict()[key].copy_((after[key] - MOMENTUM * batch) / (1 - MOMENTUM))
    return after


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_logits_in_eval_mode_are_the_authors(parity, layout):
    model, data = parity
    x = in_layout(data["x"], layout)
    before_the_training_step(model, x)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), data["logits_eval"], atol=1e-4, rtol=0)


def test_running_statistics_after_a_training_batch_are_the_authors(parity):
    model, data = parity
    after = before_the_training_step(model, data["x"])
    model.train()(data["x"])
    for key, value in after.items():
        torch.testing.assert_close(model.state_dict()[key].double(), value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_training_logits_and_gradients_are_the_authors(parity, layout):
    model, data = parity
    logits = model.train()(in_layout(data["x"], layout))
    torch.testing.assert_close(logits, data["logits_train"], atol=1e-4, rtol=0)
    logits.square().mean().backward()
    gradients = {_rename(key[5:]): value for key, value in data.items() if key.startswith("grad/")}
    assert gradients.keys() == dict(model.named_parameters()).keys()
    largest = max(value.norm() for value in gradients.values())
    for key, parameter in model.named_parameters():
        # A bias in front of a BatchNorm has no influence: its gradient is rounding, in theirs as in
        # ours.
        allowed = 1e-3 * gradients[key].norm() + 1e-6 * largest
        assert (parameter.grad - gradients[key]).norm() <= allowed, key
