"""Narrow heads and drawn targets."""

import pytest
import torch

from models.heads import (
    CascadeSettings,
    ProposalSettings,
    UPerNetSettings,
    create_detector,
    create_segmenter,
)

CLASSES = 3


@pytest.fixture
def detector():
    """Builds a detector that is small enough for one core."""

    def build(name="dwnet_micro", proposals=None, cascade=None, **overrides):
        numbers = ProposalSettings(
            **{"kept_train": 50, "kept_test": 50, "anchor_scale": 4, **(proposals or {})}
        )
        heads = {
            "fpn_channels": 16,
            "box_hidden": 32,
            "box_convs": 1,
            "mask_convs": 1,
            "regions": 32,
        }
        return create_detector(
            name,
            CLASSES,
            proposals=numbers,
            cascade=CascadeSettings(**{**heads, **(cascade or {})}),
            **overrides,
        )

    return build


@pytest.fixture
def segmenter():
    """Builds a segmenter that is small enough for one core."""

    def build(name="dwnet_micro", **overrides):
        return create_segmenter(
            name, CLASSES, upernet=UPerNetSettings(channels=16, auxiliary_channels=8), **overrides
        )

    return build


@pytest.fixture
def target():
    """Builds the target of one image from boxes; each mask fills its box."""

    def build(boxes, height, width):
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        return {"boxes": boxes, "labels": torch.arange(len(boxes)) % CLASSES, "masks": masks}

    return build
