"""The authors' detectors and segmenters: every name of theirs finds its place, and what does not
fit is named.
"""

import json
from collections.abc import Callable

import pytest
import torch
from helpers import in_the_authors_names
from torch import nn

from models.heads import CascadeSettings, UPerNetSettings, create_detector, create_segmenter
from models.weights.official import convert, convert_dense

WIDTHS = {"tiny": 96, "base": 128}
MIXERS = ("dwnet", "dynamic_dwnet", "i_dynamic_dwnet", "swin")
RELEASED = [
    *(f"{mixer}_tiny" for mixer in MIXERS),
    *(pytest.param(f"{mixer}_base", marks=pytest.mark.faults) for mixer in MIXERS),
]
MAKE: dict[str, tuple[Callable[..., nn.Module], int]] = {
    "detector": (create_detector, 80),
    "segmenter": (create_segmenter, 150),
}
COUNTED = {"detector": {"tiny": 86, "base": 145}, "segmenter": {"tiny": 60, "base": 121}}
"""Millions of parameters of Swin's networks, as published."""


def layer(*shape):
    return {"weight": shape, "bias": shape[:1]}


def normed(*shape):
    """A convolution without bias and its batch norm, as mmcv's ConvModule names them."""
    width = shape[:1]
    norm = {
        "weight": width,
        "bias": width,
        "running_mean": width,
        "running_var": width,
        "num_batches_tracked": (),
    }
    return {"conv.weight": shape, **{f"bn.{part}": value for part, value in norm.items()}}


def named(prefix, parts):
    return {f"{prefix}.{name}": shape for name, shape in parts.items()}


def cascade(widths, classes):
    """Names and shapes of FPN, RPNHead, ConvFCBBoxHead (4 shared convolutions, 1 layer) and
    FCNMaskHead.
    """
    listed: dict[str, tuple[int, ...]] = {}
    for level, width in enumerate(widths):
        listed |= named(f"neck.lateral_convs.{level}.conv", layer(256, width, 1, 1))
        listed |= named(f"neck.fpn_convs.{level}.conv", layer(256, 256, 3, 3))
    for name, shape in {
        "conv": (256, 256, 3, 3),
        "cls": (3, 256, 1, 1),
        "reg": (12, 256, 1, 1),
    }.items():
        listed |= named(f"rpn_head.rpn_{name}", layer(*shape))
    for stage in range(3):
        box, mask = f"roi_head.bbox_head.{stage}", f"roi_head.mask_head.{stage}"
        for conv in range(4):
            listed |= named(f"{box}.shared_convs.{conv}", normed(256, 256, 3, 3))
            listed |= named(f"{mask}.convs.{conv}.conv", layer(256, 256, 3, 3))
        listed |= named(f"{box}.shared_fcs.0", layer(1024, 256 * 7 * 7))
        listed |= named(f"{box}.fc_cls", layer(classes + 1, 1024)) | named(
            f"{box}.fc_reg", layer(4 * classes, 1024)
        )
        listed |= named(f"{mask}.upsample", layer(256, 256, 2, 2))
        listed |= named(f"{mask}.conv_logits", layer(classes, 256, 1, 1))
    return listed


def upernet(widths, classes):
    """Names and shapes of UPerHead and FCNHead."""
    listed = named("decode_head.bottleneck", normed(512, widths[3] + 4 * 512, 3, 3))
    listed |= named("decode_head.fpn_bottleneck", normed(512, 4 * 512, 3, 3))
    for scale in range(4):
        listed |= named(f"decode_head.psp_modules.{scale}.1", normed(512, widths[3], 1, 1))
    for level in range(3):
        listed |= named(f"decode_head.lateral_convs.{level}", normed(512, widths[level], 1, 1))
        listed |= named(f"decode_head.fpn_convs.{level}", normed(512, 512, 3, 3))
    listed |= named("decode_head.conv_seg", layer(classes, 512, 1, 1))
    listed |= named("auxiliary_head.convs.0", normed(256, widths[2], 3, 3))
    return listed | named("auxiliary_head.conv_seg", layer(classes, 256, 1, 1))


@pytest.fixture
def official(reference):
    """The file of an official detector or segmenter as mmcv's runner saves it, without memory."""

    def build(kind, name):
        classifier = json.loads(reference("official_state_dicts.json").read_text())[name][
            "state_dict"
        ]
        listed = {
            f"backbone.{key}": tuple(shape)
            for key, (_, *shape) in classifier.items()
            if not key.startswith(("norm.", "head."))
        }
        widths = [WIDTHS[name.rpartition("_")[2]] * 2**stage for stage in range(4)]
        for stage, width in enumerate(widths):
            norm = layer(width)
            if "swin" not in name:
                norm |= {
                    "running_mean": (width,),
                    "running_var": (width,),
                    "num_batches_tracked": (),
                }
            listed |= named(f"backbone.norm{stage}", norm)
        listed |= {"detector": cascade, "segmenter": upernet}[kind](widths, MAKE[kind][1])
        weights = {key: torch.empty(shape, device="meta") for key, shape in listed.items()}
        return {
            "meta": {"epoch": 36, "CLASSES": ("person",)},
            "state_dict": weights,
            "optimizer": {},
        }

    return build


def build(kind, name):
    make, classes = MAKE[kind]
    with torch.device("meta"):
        return make(name, classes)


def narrow(kind, name="dwnet_micro", **overrides):
    """A small network of three classes, with weights."""
    if kind == "segmenter":
        return create_segmenter(
            name, 3, upernet=UPerNetSettings(channels=16, auxiliary_channels=8), **overrides
        )
    heads = CascadeSettings(fpn_channels=16, box_hidden=32, box_convs=2, mask_convs=1)
    return create_detector(name, 3, cascade=heads, **overrides)


@pytest.mark.parametrize("name", RELEASED)
@pytest.mark.parametrize("kind", MAKE)
def test_every_official_name_of_a_whole_network_converts(official, kind, name):
    file, model = official(kind, name), build(kind, name)
    weights = convert_dense(file, name, model)
    expected = model.state_dict()
    assert {key: value.shape for key, value in weights.items()} == {
        key: v.shape for key, v in expected.items()
    }
    places = {id(value) for value in weights.values()}
    computed = ("relative_position_index", "attn_mask")
    used = [key for key in file["state_dict"] if not key.endswith(computed)]
    assert len(places) == len(weights) == len(used), "every tensor has one place"
    assert in_the_authors_names(model).keys() == set(used), "and every place one official name"
    if "swin" in name:
        parameters = sum(weights[key].numel() for key, _ in model.named_parameters())
        assert round(parameters / 1e6) == COUNTED[kind][name.rpartition("_")[2]]


@pytest.mark.parametrize("kind", MAKE)
def test_every_tensor_lands_where_it_came_from(kind):
    for mixer, options in (("swin", {}), ("i_dynamic_dwnet", {"group_channels": 8})):
        model = narrow(kind, f"{mixer}_micro", **options)
        file = {
            "state_dict": {f"module.{key}": v for key, v in in_the_authors_names(model).items()}
        }
        ours = model.state_dict()
        for layout in (
            file,
            {"model": ours},
            ours,
        ):  # and names of this package stand for themselves
            converted = convert_dense(layout, f"{mixer}_micro", model)
            assert all(converted[key].data_ptr() == value.data_ptr() for key, value in ours.items())


def test_counters_that_an_old_file_lacks_begin_at_0():
    model = narrow("detector")
    weights = {
        key: v
        for key, v in in_the_authors_names(model).items()
        if not key.endswith("num_batches_tracked")
    }
    model.load_state_dict(convert_dense(weights, "dwnet_micro", model))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: w.pop("roi_head.bbox_head.1.fc_cls.bias"),
            "1 missing: heads.box_heads.1.scores.bias",
        ),
        (
            lambda w: w.update({"roi_head.bbox_head.3.fc_cls.bias": torch.ones(4)}),
            "1 unexpected: heads.box_heads.3.",
        ),
        (lambda w: w.update({"ema_neck_weight": torch.ones(1)}), "1 unexpected: ema_neck_weight"),
        (
            lambda w: w.update({"rpn_head.rpn_cls.weight": torch.ones(1, 16, 1, 1)}),
            "1 of another shape: proposals.head.cls_logits.weight (1, 16, 1, 1) for (3, 16, 1, "
            "1); were they trained "
            "on other classes, or with other settings?",
        ),
        (
            lambda w: w.update({"proposals.head.cls_logits.weight": torch.ones(3, 16, 1, 1)}),
            "proposals.head.cls_logits.weight and another of its weights both stand for",
        ),
        (
            lambda w: w.update({"backbone.stem.proj.bias": torch.ones(16)}),
            "weights both stand for stem.proj.bias",
        ),
    ],
)
def test_what_does_not_fit_a_detector_is_named(change, words):
    model = narrow("detector")
    weights = in_the_authors_names(model)
    change(weights)
    with pytest.raises(ValueError) as error:
        convert_dense({"state_dict": weights}, "dwnet_micro", model)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_weights_on_another_backbone_are_guessed(official):
    with pytest.raises(ValueError, match="they are those of dynamic_dwnet_tiny"):
        convert_dense(
            official("segmenter", "dynamic_dwnet_tiny"),
            "dwnet_tiny",
            build("segmenter", "dwnet_tiny"),
        )


def test_another_kind_of_network_is_named(official, on_meta):
    detector, segmenter = (build(kind, "dwnet_tiny") for kind in MAKE)
    with pytest.raises(
        ValueError,
        match="it holds the weights of a segmenter, where those of a detector are needed",
    ):
        convert_dense(official("segmenter", "dwnet_tiny"), "dwnet_tiny", detector)
    with pytest.raises(ValueError, match="of a classifier, where those of a segmenter are needed"):
        convert_dense(in_the_authors_names(on_meta("dwnet_tiny")), "dwnet_tiny", segmenter)
    for kind in MAKE:
        with pytest.raises(
            ValueError, match=f"of a {kind}, where those of a classifier are needed"
        ):
            convert(official(kind, "dwnet_tiny"), "dwnet_tiny")
