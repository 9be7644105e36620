"""Stem, merging, maps and starting values; the whole of Swin against timm's."""

import pytest
import torch
from torch import nn

from models import create_backbone, create_model, list_models, mixers
from models.mixers.swin import WindowAttention
from models.network.backbone import Backbone, PatchMerging
from models.network.blocks import DepthwiseBlock
from models.network.layers import DropPath
from models.network.windows import cut, join, relative_index, shift_mask, window_of
from models.weights.official import convert


def takes_skeleton(mixer):
    return "skeleton" in mixers.load(mixer).options


MICRO = [name for name in list_models() if name.endswith("_micro")]
NETWORKS: list[tuple[str, dict[str, str]]] = [(name, {}) for name in MICRO]
NETWORKS += [
    (f"{name}_micro", {"skeleton": "depthwise"}) for name in mixers.names() if takes_skeleton(name)
]


def bound_to_a_size(name):
    """Static weights that are not shared over positions belong to the positions of one map."""
    switches = mixers.load(name.rpartition("_")[0]).switches
    return not switches.dynamic and not switches.shared_positions


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (75, 131), (33, 40)])
def test_maps_of_any_image_have_the_promised_shapes(name, options, height, width):
    size = {"image_size": (height, width)} if bound_to_a_size(name) else {}
    backbone = create_backbone(name, **options, **size).eval()
    assert isinstance(backbone, Backbone)
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, height, width))
    steps = [4 * 2**stage for stage in range(4)]
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, -(-height // step), -(-width // step))
        for channels, step in zip(backbone.channels, steps, strict=True)
    ]
    assert all(m.isfinite().all() for m in maps)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_a_classifier_leaves_out_what_a_patch_does_not_hold_and_a_backbone_fills_it_up(
    name, options
):
    """The official classifiers cut, since their first convolution does; the downstream backbones
    fill up.
    """
    images = torch.randn(2, 3, 39, 66)
    classifier = create_model(name, 5, image_size=(39, 66), **options).eval()
    with torch.no_grad():
        logits = classifier(images)
        images[:, :, 36:], images[:, :, :, 64:] = 9, 9
        assert torch.equal(classifier(images), logits)
        torch.testing.assert_close(classifier(images[:, :, :36, :64]), logits)
        assert classifier.get_submodule("backbone")(images)[0].shape[2:] == (9, 16)
        padding = create_model(name, 5, image_size=(39, 66), remainder="pad", **options).eval()
        assert padding.get_submodule("backbone")(images)[0].shape[2:] == (10, 17)
        cutting = create_backbone(name, image_size=(39, 66), remainder="cut", **options).eval()
        assert cutting(images)[0].shape[2:] == (9, 16)


@pytest.mark.parametrize("name", MICRO)
def test_weights_per_position_refuse_other_maps_by_name_and_nothing_else_does(name):
    backbone = create_backbone(name).eval()
    if not bound_to_a_size(name):
        assert backbone(torch.randn(1, 3, 96, 64))[0].shape[2:] == (24, 16)
        return
    with pytest.raises(ValueError) as error:
        backbone(torch.randn(1, 3, 96, 64))
    said = str(error.value)
    assert said.startswith(name.removesuffix("_micro"))
    assert all(part in said for part in ("16x16", "24x16", "64x64 pixels", "image_size"))


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_memory_layout_of_the_images_changes_nothing(name, options):
    model, x = create_model(name, 5, **options), torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(model(x), model(x.contiguous(memory_format=torch.channels_last)))


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_half_precision_on_the_cpu(name, options):
    model, x = create_model(name, 5, **options), torch.randn(2, 3, 64, 64)
    expected = model.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)
    torch.testing.assert_close(logits.float(), expected, atol=0.05, rtol=0.1)
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).float().square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_classifier_holds_the_backbone():
    model = create_model("dwnet_micro")
    weights = {
        key.removeprefix("backbone."): value
        for key, value in model.state_dict().items()
        if key.startswith("backbone.")
    }
    backbone = create_backbone("dwnet_micro")
    backbone.load_state_dict(weights)
    x = torch.randn(1, 3, 64, 64)
    held = model.get_submodule("backbone")
    for mine, theirs in zip(backbone.eval()(x), held.eval()(x), strict=True):
        assert torch.equal(mine, theirs)


def test_merging_takes_the_four_neighbours_column_after_column():
    merge = PatchMerging(1)
    merge.register_module("norm", nn.Identity())
    merge.register_module("reduction", nn.Identity())
    x = torch.arange(6.0).view(1, 2, 3, 1)
    # Rows 0 1 2 and 3 4 5; the third column stands beside zeros.
    assert merge(x)[0, 0].tolist() == [[0, 3, 1, 4], [2, 5, 0, 0]]


@pytest.mark.parametrize(
    ("name", "rate", "blocks"), [("dwnet_tiny", 0.2, 12), ("swin_base", 0.5, 24)]
)
def test_drop_path_grows_linearly(on_meta, name, rate, blocks):
    rates = [module.rate for module in on_meta(name).modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([rate * index / (blocks - 1) for index in range(blocks)])
    assert {m.rate for m in on_meta("dwnet_micro").modules() if isinstance(m, DropPath)} == {0.0}


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    drop, x = DropPath(0.25), torch.ones(4000, 3, 2)
    out = drop(x)
    assert out.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(x) is x


def test_starting_values_follow_the_paper():
    model = create_model("dynamic_dwnet_tiny", embed_dim=32)
    linear = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, nn.Linear)])
    assert linear.std().item() == pytest.approx(0.02, rel=0.02)
    assert all(
        m.bias.eq(0).all()
        for m in model.modules()
        if isinstance(m, nn.Linear) and m.bias is not None
    )
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            assert module.weight.eq(1).all() and module.bias.eq(0).all()
    point = model.get_parameter("backbone.stages.3.blocks.0.mixer.conv_in.weight")
    assert point.abs().max().item() == pytest.approx(256**-0.5, rel=0.01)
    assert point.std().item() == pytest.approx((3 * 256) ** -0.5, rel=0.02)


def test_micro_starts_with_the_width_of_each_layer():
    for module in create_model("swin_micro").modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(module.in_features**-0.5, rel=0.1)


def test_static_kernels_start_like_those_of_a_convolution():
    spatial = create_backbone("dwnet_micro").get_submodule("stages.3.blocks.0.mixer.spatial")
    peer = nn.Conv2d(128, 128, 7, groups=128)
    for name, theirs in peer.named_parameters():  # weight and bias
        mine = spatial.get_parameter(name)
        assert mine.shape == theirs.shape
        assert mine.std().item() == pytest.approx(theirs.std().item(), rel=0.15)
        assert mine.abs().max().item() == pytest.approx(1 / 7, rel=0.1)


# At 256 pixels the maps are filled up to whole windows; timm does that after the shift and official
# Swin before, so that only networks without shifted blocks agree there.
@pytest.mark.parametrize(("pixels", "depths"), [(224, (2, 2, 2, 2)), (256, (1, 1, 1, 1))])
def test_swin_is_the_swin_of_timm(pixels, depths):
    swin = pytest.importorskip("timm.models.swin_transformer")
    overrides = {"embed_dim": 16, "depths": depths, "num_heads": (1, 2, 4, 8)}
    peer = swin.SwinTransformer(img_size=pixels, num_classes=6, **overrides).eval()
    nn.init.normal_(peer.head.fc.weight)
    for name, parameter in peer.named_parameters():
        if "relative_position_bias_table" in name or name.endswith("bias"):
            nn.init.normal_(parameter)
    weights = {}
    for key, value in peer.state_dict().items():
        if "downsample" in key:
            stage = int(key.split(".")[1])
            key = key.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        weights[key.replace("head.fc.", "head.")] = value
    model = create_model("swin_tiny", num_classes=6, **overrides).eval()
    model.load_state_dict(convert(weights, "swin_tiny", **overrides))
    x = torch.randn(1, 3, pixels, pixels)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(x), atol=1e-4, rtol=1e-4)


def attention_over_all_pairs(module, x):
    """Shifted window attention as one softmax over a filled-up map, each pair of positions judged
    by itself.
    """
    window, shift, heads = module.window, module.window // 2, module.heads
    x = nn.functional.pad(x, (0, 0, 0, -x.shape[2] % window, 0, -x.shape[1] % window))
    height, width, channels = x.shape[1:]
    rows, columns = (
        torch.arange(height).repeat_interleave(width),
        torch.arange(width).repeat(height),
    )
    allowed = torch.ones(height * width, height * width, dtype=torch.bool)
    for place, length in ((rows, height), (columns, width)):
        shifted = (place - shift) % length // window
        allowed &= shifted[:, None] == shifted[None, :]
        # Farther apart than a window is long: together only because the shift wraps around.
        allowed &= (place[:, None] - place[None, :]).abs() < window
    side = 2 * window - 1
    offset = (
        (rows[:, None] - rows[None, :] + window - 1) * side
        + columns[:, None]
        - columns[None, :]
        + window
        - 1
    )
    bias = module.relative_position_bias_table[offset.clamp(0, side * side - 1)].permute(2, 0, 1)
    query, key, value = (
        module.qkv(x.flatten(1, 2)).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    )
    scores = query @ key.transpose(-2, -1) * (channels // heads) ** -0.5 + bias
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return module.proj((weights @ value).transpose(1, 2).flatten(2)).view(
        1, height, width, channels
    )


@pytest.mark.parametrize(("height", "width"), [(6, 9), (5, 7), (4, 4)])
def test_shifted_windows_are_attention_over_the_allowed_pairs(height, width):
    module = WindowAttention(8, heads=2, window=3, shifted=True).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, height, width, 8, dtype=torch.float64)
    torch.testing.assert_close(module(x), attention_over_all_pairs(module, x)[:, :height, :width])


def test_windows_shrink_to_a_small_map_and_stay():
    assert window_of(14, 28, 7, True) == (7, 3)
    assert window_of(14, 28, 7, False) == (7, 0)
    assert window_of(7, 28, 7, True) == (7, 0)
    assert window_of(28, 4, 7, True) == (4, 0)


def test_cut_and_join_are_inverse():
    x = torch.randn(2, 6, 9, 4)
    tiles = cut(x, 3)
    assert torch.equal(tiles[0, 1], x[0, :3, 3:6].reshape(9, 4))
    assert torch.equal(join(tiles, (6, 9)), x)


def test_a_small_window_uses_the_middle_of_the_table():
    cpu = torch.device("cpu")
    full, part = relative_index(3, 3, cpu), relative_index(2, 3, cpu)
    places = torch.tensor([0, 1, 3, 4])
    assert torch.equal(part, full[places[:, None], places[None, :]])


def test_shifted_windows_hide_what_only_wrapping_brought_together():
    mask = shift_mask(4, 4, 2, 1, torch.device("cpu"))
    assert mask[0].eq(0).all()
    # The last window holds the four corners of the map: none was another's neighbour.
    assert mask[3].eq(0).sum() == 4


def test_a_mask_made_in_inference_mode_serves_training():
    shift_mask.store.clear()
    relative_index.store.clear()
    model, x = create_model("swin_micro", 3, depths=(2, 1, 1, 1)), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        model(x)
    model(x).sum().backward()


@pytest.mark.parametrize(("kind", "norm"), [("ln", nn.LayerNorm), ("bn", nn.BatchNorm2d)])
def test_output_norms_are_one_for_each_map(kind, norm):
    backbone = create_backbone("dwnet_micro", output_norm=kind)
    plain = create_backbone("dwnet_micro")
    plain.load_state_dict(
        {k: v for k, v in backbone.state_dict().items() if not k.startswith("output_norms")}
    )
    assert isinstance(backbone, Backbone)
    assert [type(m) for m in backbone.output_norms] == [norm] * 4
    x = torch.randn(2, 3, 64, 96)
    axes = (0, 2, 3) if kind == "bn" else (1,)
    for normed, bare in zip(backbone(x), plain(x), strict=True):
        variance, mean = torch.var_mean(bare, dim=axes, correction=0, keepdim=True)
        torch.testing.assert_close(
            normed, (bare - mean) / (variance + 1e-5).sqrt(), atol=1e-4, rtol=1e-4
        )
    assert not hasattr(plain, "output_norms")


@pytest.mark.parametrize("name", ["dwnet", "dynamic_dwnet", "i_dynamic_dwnet"])
def test_padding_leaks_into_the_block_as_it_does_in_the_authors_downstream_networks(name):
    """The sandwich sees a map filled up with zeros, which its first norm makes other than zero."""
    block = create_backbone(f"{name}_micro", pad_to=7).get_submodule("stages.0.blocks.0").eval()
    assert isinstance(block, DepthwiseBlock)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
        x = torch.randn(1, 5, 9, 16)
        filled = torch.zeros(1, 7, 14, 16)
        filled[:, :5, :9] = x
        mixed = block.mixer(filled.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)[:, :5, :9]
        expected = x + mixed
        expected = expected + block.mlp(block.bn(expected.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        torch.testing.assert_close(block(x), expected)
        block.pad_to = 1
        assert not torch.allclose(block(x), expected, atol=0.1)
        whole = torch.randn(1, 7, 14, 16)
        without = block(whole)
        block.pad_to = 7
        assert torch.equal(block(whole), without)


def test_batch_norms_can_be_made_synchronous():
    """Downstream training converts them; its own forward pass needs a group, so a shape is all that
    is asked here.
    """
    model = nn.SyncBatchNorm.convert_sync_batchnorm(
        create_backbone("dwnet_micro", output_norm="bn")
    ).eval()
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) == 5 * 4 + 4
    assert [tuple(m.shape[2:]) for m in model(torch.randn(1, 3, 64, 64))] == [
        (16, 16),
        (8, 8),
        (4, 4),
        (2, 2),
    ]
