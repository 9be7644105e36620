"""Which parameters decay: by kind in every mixer, and name for name as in the authors' trainers."""

import json

import pytest
import torch
from helpers import SHARED
from torch import nn

from models import create_backbone, create_model, mixers
from models.heads import create_detector, create_segmenter
from models.weights.official import _rename
from pipeline.params import Optimizer
from pipeline.training import optimizer

OFFICIAL = SHARED / "reference" / "official_state_dicts.json"
NETWORKS = ("dwnet", "dynamic_dwnet", "i_dynamic_dwnet", "swin")
OPTIONS: tuple[dict[str, str | bool], ...] = (
    {},
    {"norm": "ln", "projection_norm": True, "se": True},
    {"norm": "bn", "projection_norm": False},
    {"skeleton": "depthwise"},
    {"row_bias": True},
    {"position_bias": False},
)
CASES = [
    (mixer, options)
    for mixer in mixers.names()
    for options in OPTIONS
    if set(options) <= set(mixers.load(mixer).options)
]
NORMS = (nn.LayerNorm, nn.BatchNorm2d)


def spared(model: nn.Module, rule: str = "1d_and_bias") -> set[str]:
    """Return the names of the parameters in the group that does not decay; all are in one of the
    two groups.
    """
    numbers = Optimizer.model_validate({"no_decay": rule})
    decaying, sparing = optimizer.create(model, numbers, torch.device("meta")).param_groups
    assert (decaying["weight_decay"], sparing["weight_decay"]) == (numbers.weight_decay, 0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert {*decaying["params"], *sparing["params"]} == set(names)
    return {names[parameter] for parameter in sparing["params"]}


@pytest.mark.parametrize(("mixer", "options"), CASES, ids=str)
def test_norms_biases_and_positions_of_every_mixer_are_spared_and_nothing_else(
    mixer: str, options: dict
) -> None:
    with torch.device("meta"):
        model = create_model(f"{mixer}_micro", **options)
    kinds = {
        f"{prefix}.{name}": isinstance(module, NORMS)
        or name == "bias"
        or "position" in name
        or tensor.ndim == 1
        for prefix, module in model.named_modules()
        for name, tensor in module.named_parameters(recurse=False)
    }
    assert spared(model) == {name for name, kind in kinds.items() if kind}
    assert any("position" in name for name in kinds) == (
        "position_bias" in mixers.load(mixer).options and options.get("position_bias", True)
    )


def test_a_network_of_timm_says_what_else_to_spare() -> None:
    with torch.device("meta"):
        model = create_model("timm:vit_tiny_patch16_224")
    assert {"pos_embed", "cls_token", "norm.weight"} <= spared(model)
    assert {"patch_embed.proj.weight", "head.weight"}.isdisjoint(spared(model))


def official(name: str) -> dict[str, int]:
    """Return names and dimensions of an official classifier's parameters."""
    if not OFFICIAL.exists():
        pytest.skip(f"{OFFICIAL.name} is not beside this checkout")
    tensors = json.loads(OFFICIAL.read_text())[name]["state_dict"]
    buffers = (
        "running_mean",
        "running_var",
        "num_batches_tracked",
        "relative_position_index",
        "attn_mask",
    )
    return {key: len(shape) for key, (_, *shape) in tensors.items() if not key.endswith(buffers)}


@pytest.mark.parametrize("size", ["tiny", "base"])
@pytest.mark.parametrize("mixer", NETWORKS)
def test_the_groups_are_those_of_the_authors_image_net_trainer(mixer: str, size: str) -> None:
    """Its rule: one dimension, `.bias`, or a name that the network lists; Swin lists its position
    tables.
    """
    theirs = {
        _rename(key)
        for key, dimensions in official(f"{mixer}_{size}").items()
        if dimensions == 1 or key.endswith(".bias") or "relative_position_bias_table" in key
    }
    with torch.device("meta"):
        ours = spared(create_model(f"{mixer}_{size}"))
    assert ours == theirs
    assert (
        sum("relative_position_bias_table" in name for name in ours)
        == (mixer == "swin") * {"tiny": 12, "base": 24}[size]
    )


@pytest.mark.parametrize("mixer", NETWORKS)
def test_downstream_groups_are_those_of_the_authors_configurations(mixer: str) -> None:
    """Their rule: `norm` or a position table anywhere in the name; the heads' batch norms are
    called `bn`.
    """
    keys = [key for key in official(f"{mixer}_tiny") if not key.startswith(("norm.", "head."))]
    listed = ("norm", "absolute_pos_embed", "relative_position_bias_table")
    backbone = {
        f"backbone.{_rename(key).removeprefix('backbone.')}"
        for key in keys
        if any(p in key for p in listed)
    }
    outputs = {
        f"backbone.output_norms.{stage}.{part}" for stage in range(4) for part in ("weight", "bias")
    }
    for create in (create_detector, create_segmenter):
        with torch.device("meta"):
            model = create(f"{mixer}_tiny")
        assert spared(model, "norm_names") == backbone | outputs


def test_a_backbone_inside_a_larger_network_is_treated_alike() -> None:
    with torch.device("meta"):
        model = nn.ModuleDict({"backbone": create_backbone("timm:vit_tiny_patch16_224")})
    assert "backbone.net.model.pos_embed" in spared(model)
