"""From names and overrides to networks, and what is said about wrong ones."""

import json
import subprocess
import sys

import pytest
import torch
from helpers import PROJECT
from torch import nn

from models import create_backbone, create_model, list_models, mixers
from models.__main__ import ABLATIONS as PAPER_ROWS
from models.__main__ import describe, table
from models.counting.macs import RULES, count_macs
from models.network.backbone import Backbone, Classifier
from models.network.layers import SqueezeExcitation

SANDWICH = ("dwnet", "dynamic_dwnet", "i_dynamic_dwnet", "locally_connected")
PRE_NORM = ("swin", "sliding_attention", "global_attention", "local_mlp")
NEW_MIXER = '''
"""Nothing but the feed-forward part: the smallest possible mixer file."""
from torch import nn
from models.network.blocks import PreNormBlock
from models.network.spec import Switches

SWITCHES = Switches("sliding", shared_positions=True, shared_channels="yes", dynamic=False)

class Same(nn.Identity):
    switches = SWITCHES

def block(place, *, colour="red"):
    return PreNormBlock(place, Same())
'''


@pytest.mark.parametrize("name", [name for name in list_models() if name.endswith("_micro")])
def test_every_mixer_trains_a_step(name):
    model = create_model(name, num_classes=7)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 7)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def sharing(name):
    """Every way of sharing over channels that a mixer's options can say: none, in fours, all."""
    taken = mixers.load(name).options
    if "group_channels" in taken:
        everywhere = {"groups": 1} if "groups" in taken else {"num_heads": (1, 1, 1, 1)}
        yield from ({"group_channels": 1}, {"group_channels": 4}, everywhere)


SHARED = [(name, options) for name in mixers.names() for options in sharing(name)]
SHARED += [
    (name, {"skeleton": "depthwise", **options})
    for name, options in SHARED
    if "skeleton" in mixers.load(name).options
]


@pytest.mark.parametrize("pixels", [32, 64])
@pytest.mark.parametrize(("mixer", "options"), SHARED, ids=str)
def test_every_sharing_over_channels_trains_a_step(mixer, options, pixels):
    """Also where the last map is a single position."""
    model = create_model(f"{mixer}_micro", num_classes=7, image_size=pixels, **options)
    assert isinstance(model, Classifier)
    model(torch.randn(2, 3, pixels, pixels)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    spatial = [m for m in model.backbone.stages[0].modules() if "switches" in vars(m)]
    assert spatial and all(
        p.grad is not None and p.grad.ne(0).any()
        for m in spatial
        for p in m._parameters.values()
        if p is not None
    )
    assert model.switches.shared_channels == {1: "no", 4: "groups"}.get(
        options.get("group_channels"), "yes"
    )


ABLATIONS = [
    *((name, {"norm": "bn", "projection_norm": True, "se": True}) for name in PRE_NORM),
    *((name, {"norm": "bn"}) for name in PRE_NORM),
    *((name, {"norm": "ln", "projection_norm": False, "se": True}) for name in SANDWICH),
    *((name, {"norm": "bn", "projection_norm": False}) for name in SANDWICH),
    *((name, {"norm": "ln"}) for name in SANDWICH),
    *(
        (name, {"position_bias": False})
        for name in ("swin", "sliding_attention", "global_attention")
    ),
    *((name, {"shift": False}) for name in ("swin", "local_mlp")),
    *(
        ("sliding_attention", {"skeleton": "depthwise", **options})
        for options in (
            {},
            {"projection_norm": False, "norm": "ln"},
            {"norm": "ln"},
            {"se": True, "pad_to": 7},
        )
    ),
    ("local_mlp", {"shared_windows": True, "row_bias": True}),
]


@pytest.mark.parametrize(("mixer", "options"), ABLATIONS, ids=str)
def test_every_option_trains_a_step(mixer, options):
    model = create_model(f"{mixer}_micro", num_classes=7, depths=(1, 2, 1, 1), **options)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


SKELETONS = [
    *((name, {}, True) for name in SANDWICH),
    ("sliding_attention", {"skeleton": "depthwise"}, True),
    *((name, {}, False) for name in PRE_NORM),
]


@pytest.mark.parametrize(("mixer", "skeleton", "sandwich"), SKELETONS, ids=str)
def test_norms_are_of_the_kind_and_in_the_places_asked_for(mixer, skeleton, sandwich):
    def norms(**options):
        backbone = create_backbone(f"{mixer}_micro", **skeleton, **options)
        block = backbone.get_submodule("stages.0.blocks.0")
        found = [m for m in block.modules() if isinstance(m, nn.LayerNorm | nn.BatchNorm2d)]
        # The generators of dynamic kernels keep theirs: it is no norm of the block.
        own = [
            m for m in found if m is not getattr(getattr(block.mixer, "spatial", None), "bn", None)
        ]
        return {type(m) for m in own}, len(own)

    in_projections = 3 if sandwich else 2
    fronts = 1 if sandwich else 2
    for norm, kind in (("ln", nn.LayerNorm), ("bn", nn.BatchNorm2d)):
        assert norms(norm=norm, projection_norm=False) == ({kind}, 2)
        assert norms(norm=norm, projection_norm=True) == ({kind}, fronts + in_projections)
    default = ({nn.BatchNorm2d}, 4) if sandwich else ({nn.LayerNorm}, 2)
    assert norms() == default


def test_squeeze_and_excitation_scales_the_mixed_branch_by_a_function_of_its_mean():
    gate = SqueezeExcitation(32)
    x = torch.randn(2, 3, 5, 32)
    out = gate(x)
    scale = out / x
    torch.testing.assert_close(scale, scale[:, :1, :1].expand_as(scale))
    assert scale.gt(0).all() and scale.lt(1).all() and not torch.allclose(scale[0], scale[1])
    torch.testing.assert_close(gate(x.flip(1)), out.flip(1))


def test_names_are_mixers_times_sizes():
    assert {"swin_tiny", "dwnet_base", "dynamic_dwnet_small", "i_dynamic_dwnet_micro"} <= set(
        list_models()
    )
    assert {"local_mlp", "locally_connected", "sliding_attention", "global_attention"} <= set(
        mixers.names()
    )
    assert len(list_models()) == 4 * len(mixers.names())


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("dwnet_tny", {}, "did you mean 'dwnet_tiny'"),
        ("idynamic_dwnet_base", {}, "did you mean 'i_dynamic_dwnet_base'"),
        ("dwnet", {}, "there is no model 'dwnet'"),
        ("dwnet_tiny", {"kernelsize": 3}, "did you mean 'kernel_size'"),
        ("swin_tiny", {"groups": 3}, "swin_tiny takes no override 'groups'"),
        ("dwnet_tiny", {"kernel_size": 4}, "kernel_size must be odd"),
        ("swin_tiny", {"kernel_size": 8}, "kernel_size must be odd"),
        ("dwnet_tiny", {"kernel_size": (3, 5)}, "one value or 4"),
        ("i_dynamic_dwnet_tiny", {"groups": 7}, "groups=7 does not divide the 96 channels"),
        ("i_dynamic_dwnet_tiny", {"group_channels": 5}, "group_channels=5 does not divide the 96"),
        ("i_dynamic_dwnet_tiny", {"groups": 8, "group_channels": 12}, "not both"),
        ("swin_tiny", {"num_heads": (5, 5, 5, 5)}, "num_heads=5 does not divide"),
        ("dwnet_tiny", {"depths": (2, 2, 6)}, "depths must be 4"),
        ("dwnet_tiny", {"embed_dim": 30}, "embed_dim must be a multiple of 4"),
        ("dwnet_tiny", {"drop_path_rate": 1.0}, "drop_path_rate must be"),
        ("dwnet_tiny", {"image_size": (224, 224, 3)}, "image_size must be"),
        ("local_mlp_tiny", {"group_channels": 64}, "group_channels=64 does not divide the 96"),
        ("locally_connected_tiny", {"groups": 7}, "groups=7 does not divide the 96 channels"),
        ("locally_connected_tiny", {"kernel_size": 0}, "kernel_size must be odd"),
        ("local_mlp_tiny", {"kernel_size": 6}, "kernel_size must be odd"),
        ("sliding_attention_tiny", {"kernel_size": 2}, "kernel_size must be odd"),
        ("sliding_attention_tiny", {"num_heads": (5, 5, 5, 5)}, "num_heads=5 does not divide"),
        ("global_attention_tiny", {"num_heads": (5, 5, 5, 5)}, "num_heads=5 does not divide"),
        ("global_attention_tiny", {"kernel_size": 7}, "takes no override 'kernel_size'"),
        ("sliding_attention_tiny", {"shift": True}, "takes no override 'shift'"),
        ("slidng_attention_tiny", {}, "did you mean 'sliding_attention_tiny'"),
        ("swin_tiny", {"norm": "gn"}, "norm must be ln (LayerNorm) or bn (BatchNorm), not 'gn'"),
        ("dwnet_tiny", {"norm": "batch"}, "norm must be ln"),
        ("swin_tiny", {"group_channels": 64}, "group_channels=64 does not divide the 96 channels"),
        (
            "sliding_attention_tiny",
            {"group_channels": 5},
            "group_channels=5 does not divide the 96",
        ),
        ("global_attention_tiny", {"group_channels": 0}, "group_channels=0 does not divide the 96"),
        (
            "swin_tiny",
            {"group_channels": 16, "num_heads": (3, 6, 12, 24)},
            "num_heads or groups or group_channels",
        ),
        (
            "sliding_attention_tiny",
            {"skeleton": "dw"},
            "skeleton must be attention (Swin's block) or depthwise",
        ),
        ("swin_tiny", {"skeleton": "depthwise"}, "swin_tiny takes no override 'skeleton'"),
        ("dwnet_tiny", {"mlp_ratio": 0.01}, "mlp_ratio must leave the 96 channels"),
        ("dwnet_tiny", {"pad_to": 0}, "pad_to must be at least 1"),
        ("dwnet_tiny", {"remainder": "crop"}, "remainder must be cut or pad, not 'crop'"),
        ("dwnet_tiny", {"image_size": 3}, "image_size must be at least 4, the side of a patch"),
        ("dwnet_tiny", {"output_norm": "bn"}, "output_norm is for feature maps"),
    ],
)
def test_wrong_use_is_refused_in_one_helpful_sentence(on_meta, name, overrides, words):
    with pytest.raises(ValueError) as error:
        on_meta(name, **overrides)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_new_file_is_a_new_mixer(tmp_path, monkeypatch):
    (tmp_path / "same.py").write_text(NEW_MIXER)
    monkeypatch.setattr(mixers, "__path__", [*mixers.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "models.mixers.same", raising=False)
    assert "same_tiny" in list_models()
    model = create_model("same_micro", num_classes=3, colour="blue")
    assert isinstance(model, Classifier)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 3)
    assert model.switches.shared_channels == "yes"
    with pytest.raises(ValueError, match="did you mean 'colour'"):
        create_model("same_micro", color="blue")
    sys.modules.pop("models.mixers.same")


def test_a_mixer_file_without_its_parts_is_refused(tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text("SWITCHES = None\n")
    monkeypatch.setattr(mixers, "__path__", [*mixers.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"half\.py must define block"):
        create_model("half_tiny")
    sys.modules.pop("models.mixers.half")


def test_an_option_may_differ_by_stage():
    backbone = create_backbone("dwnet_micro", kernel_size=[3, 5, 7, 9])
    assert isinstance(backbone, Backbone)
    kernels = [stage.get_parameter("blocks.0.mixer.spatial.weight") for stage in backbone.stages]
    sizes = [kernel.shape[-1] for kernel in kernels]
    assert sizes == [3, 5, 7, 9]


def test_starting_values_come_from_the_global_generator():
    torch.manual_seed(3)
    first = create_model("i_dynamic_dwnet_micro").state_dict()
    torch.manual_seed(3)
    second = create_model("i_dynamic_dwnet_micro").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_timm_models_are_baselines():
    pytest.importorskip("timm")
    model = create_model("timm:resnet10t", num_classes=5, drop_path_rate=0.1)
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 5)
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        create_model("timm:resnett18")
    with pytest.raises(ValueError, match="does not take these overrides"):
        create_model("timm:resnet10t", colour="red")
    with pytest.warns(UserWarning, match="drop_path_rate is left out"), torch.device("meta"):
        create_model("timm:vgg11", drop_path_rate=0.1)


def test_importing_needs_torch_alone():
    code = (
        "import sys, models, models.counting.macs, models.weights.official; "
        "models.create_model('swin_micro');"
        "print(sorted({'timm', 'torchvision', 'ray', 'pydantic', 'pipeline', 'mlflow'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_table_names_switches_and_the_counting_rule():
    row = describe("i_dynamic_dwnet_micro")
    assert (row["shared_positions"], row["shared_channels"], row["dynamic"]) == (
        False,
        "groups",
        True,
    )
    assert row["macs_rule"] == "flops()"
    assert "operations, flops()" in table([row]) and f"{row['parameters']:,}" in table([row])


def test_the_table_counts_by_every_rule_and_says_options(on_meta):
    row = describe("dwnet_micro", {"kernel_size": 3, "se": True})
    model = on_meta("dwnet_micro", kernel_size=3, se=True)
    for rule, key in zip(RULES, ("macs", "macs_full", "macs_downstream"), strict=True):
        assert row[key] == count_macs(model, 64, rule)["total"]
        assert f"operations, {rule}" in table([row])
    assert row["macs"] != row["macs_downstream"]
    assert "kernel_size=3, se=yes" in table([row])
    assert json.loads(json.dumps([row])) == [row]


def test_rows_for_the_papers_ablations_can_be_built(on_meta):
    for name, options in PAPER_ROWS:
        assert on_meta(name, **options).switches


@pytest.mark.parametrize("mixer", ["swin", "sliding_attention", "global_attention"])
def test_heads_of_as_many_channels_as_the_size_has_change_nothing(mixer):
    def build(**options):
        torch.manual_seed(3)
        return create_model(f"{mixer}_tiny", num_classes=5, image_size=64, **options).eval()

    plain, said = build(), build(group_channels=32)
    assert list(plain.state_dict()) == list(said.state_dict())
    assert all(
        torch.equal(value, said.state_dict()[key]) for key, value in plain.state_dict().items()
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain(x), said(x))
        said = build(group_channels=16)
        said.load_state_dict(
            {key: value for key, value in plain.state_dict().items() if "table" not in key}, False
        )
        assert not torch.allclose(plain(x), said(x), atol=1e-4)
