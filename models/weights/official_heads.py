"""The names of mmdetection's and mmsegmentation's heads, under which the authors saved detectors
and segmenters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Rules = tuple[tuple[str, str], ...]

RENAMES: Rules = (
    # A normed convolution is `conv` and `bn` there, and a sequence of both here.
    (r"^((?:neck|roi_head|decode_head|auxiliary_head)\..*\.)conv\.(?=\w+$)", r"\g<1>0."),
    (r"^((?:roi_head|decode_head|auxiliary_head)\..*\.)bn\.(?=\w+$)", r"\g<1>1."),
    (r"^neck\.lateral_convs\.", "pyramid.inner_blocks."),
    (r"^neck\.fpn_convs\.", "pyramid.layer_blocks."),
    (r"^rpn_head\.rpn_conv\.", "proposals.head.conv.0.0."),
    (r"^rpn_head\.rpn_cls\.", "proposals.head.cls_logits."),
    (r"^rpn_head\.rpn_reg\.", "proposals.head.bbox_pred."),
    (r"^roi_head\.bbox_head\.(\d+)\.shared_convs\.", r"heads.box_heads.\1.features."),
    (r"^roi_head\.bbox_head\.(\d+)\.fc_cls\.", r"heads.box_heads.\1.scores."),
    (r"^roi_head\.bbox_head\.(\d+)\.fc_reg\.", r"heads.box_heads.\1.offsets."),
    (r"^roi_head\.mask_head\.(\d+)\.convs\.", r"heads.mask_heads.\1.0."),
    (r"^roi_head\.mask_head\.(\d+)\.upsample\.", r"heads.mask_heads.\1.1.conv5_mask."),
    (r"^roi_head\.mask_head\.(\d+)\.conv_logits\.", r"heads.mask_heads.\1.1.mask_fcn_logits."),
    (r"^decode_head\.psp_modules\.", "head.pooling.grids."),
    (r"^decode_head\.bottleneck\.", "head.pooling.join."),
    (r"^decode_head\.lateral_convs\.", "head.lateral."),
    (r"^decode_head\.fpn_convs\.", "head.levels."),
    (r"^decode_head\.fpn_bottleneck\.", "head.join."),
    (r"^decode_head\.conv_seg\.", "head.classify.1."),
    (r"^auxiliary_head\.convs\.", "auxiliary."),
)
"""Patterns and what replaces them, applied in this order (mmdetection 2.11, mmsegmentation 0.11).

What the tensors hold is the same there: the background is the last class, a box head's hidden layer
sees (channels, rows, columns) in a row, and offsets are four for each class.
"""

DETECTOR = re.compile(r"^(neck|rpn_head|roi_head|pyramid|proposals|heads)\.")
SEGMENTER = re.compile(
    r"^(decode_head|auxiliary_head|auxiliary|head\.(pooling|lateral|levels|join|classify))\."
)
CLASSIFIER = re.compile(r"^(norm|head|head\.fc)\.(weight|bias)$")


def kind_of(names: Iterable[str]) -> str | None:
    """Return what a network is by its names, the authors' or this package's: `detector`,
    `segmenter`, `classifier`.

    None where there is nothing beyond a backbone.
    """
    listed = list(names)
    for kind, pattern in (
        ("detector", DETECTOR),
        ("segmenter", SEGMENTER),
        ("classifier", CLASSIFIER),
    ):
        if any(pattern.match(name) for name in listed):
            return kind
    return None


def rename_heads(names: Iterable[str]) -> dict[str, str]:
    """Return the names of this package for those of the authors' heads; a name without a rule
    stands for itself.
    """
    listed = list(names)
    rules = (*_places(listed), *RENAMES)
    return {name: _rename(name, rules) for name in listed}


def _rename(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _places(names: list[str]) -> Rules:
    """Rules for two layers whose numbers here depend on how many convolutions stand in front of
    them.
    """
    box = _count(names, r"roi_head\.bbox_head\.0\.shared_convs\.(\d+)\.")
    auxiliary = _count(names, r"auxiliary_head\.convs\.(\d+)\.")
    return (
        # The convolutions, then flattening.
        (
            r"^roi_head\.bbox_head\.(\d+)\.shared_fcs\.0\.",
            rf"heads.box_heads.\g<1>.features.{box + 1}.",
        ),
        # The convolutions, then a sequence of dropout and the classifier.
        (r"^auxiliary_head\.conv_seg\.", f"auxiliary.{auxiliary}.1."),
    )


def _count(names: list[str], pattern: str) -> int:
    return len({match[1] for name in names if (match := re.match(pattern, name))})
