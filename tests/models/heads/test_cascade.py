"""The stages of the cascade, in training and at test, against the same written plainly in
float64.
"""

import math
from typing import Any

import pytest
import torch
from plain_boxes import iou

from models.heads import cascade as module
from models.heads.cascade import BoxHead, CascadeHeads
from models.heads.regions import pool
from models.heads.settings import CascadeSettings

Box = list[float]
CLASSES, CHANNELS = 3, 8
SIZES = [(60, 64), (50, 40)]
SETTINGS = CascadeSettings(
    fpn_channels=CHANNELS,
    box_convs=1,
    box_hidden=16,
    mask_convs=1,
    mask_size=8,
    regions=1000,
    score_threshold=0.2,
)


@pytest.fixture
def heads():
    """Heads whose predictions differ enough from each other to matter."""
    heads = CascadeHeads(CLASSES, SETTINGS)
    with torch.no_grad():
        for head in heads.box_heads:
            assert isinstance(head, BoxHead)
            head.offsets.weight.normal_(std=0.2)
            head.scores.weight.normal_(std=0.3)
    return heads


@pytest.fixture
def seen(heads, monkeypatch):
    """What went into the box heads and came out of all heads, in the order of the calls."""
    seen: dict[str, list[Any]] = {"boxes": [], "box": [], "mask": []}

    def watched(maps, boxes, size):
        seen["boxes"].append(boxes)
        return pool(maps, boxes, size)

    monkeypatch.setattr(module, "pool", watched)
    for kind, group in (("box", heads.box_heads), ("mask", heads.mask_heads)):
        for head in group:
            head.register_forward_hook(lambda _, __, out, kind=kind: seen[kind].append(out))
    return seen


def some_maps():
    return [torch.randn(2, CHANNELS, 64 // 2**level, 64 // 2**level) for level in range(2, 6)]


def some_proposals():
    """A few near the true boxes, and others."""
    near = torch.cat([TRUTH[0].repeat(4, 1), TRUTH[0].repeat(4, 1) + 1]) + torch.rand(16, 4) * 6
    far = (torch.rand(2, 12, 2, 2).sort(dim=2).values * 38).flatten(2) + torch.tensor(
        [0.0, 0, 1, 1]
    )
    return [torch.cat((near, far[0])), far[1]]


TRUTH = [torch.tensor([[5.0, 5, 30, 30], [28, 20, 60, 56]]), torch.zeros(0, 4)]
LABELS = [torch.tensor([2, 0]), torch.zeros(0, dtype=torch.int64)]


def some_targets():
    masks = [torch.randint(2, (len(boxes), 64, 64), dtype=torch.uint8) for boxes in TRUTH]
    return [
        {"boxes": b, "labels": c, "masks": m} for b, c, m in zip(TRUTH, LABELS, masks, strict=True)
    ]


def moved(box, offset, stds, size=None):
    width, height = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + offset[0] * stds[0] * width
    y = (box[1] + box[3]) / 2 + offset[1] * stds[1] * height
    width, height = width * math.exp(offset[2] * stds[2]), height * math.exp(offset[3] * stds[3])
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return (
        corners
        if size is None
        else [min(max(c, 0), size[1 - i % 2]) for i, c in enumerate(corners)]
    )


def giou_loss(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return 1 - shared / union + (hull - union) / hull


def stage_by_stage(proposals, seen):
    """For each stage its regions and its two losses, from what the heads gave, one region after the
    other.
    """
    proposals = [own.tolist() for own in proposals]
    for stage in range(3):
        scores, offsets = (out.double().tolist() for out in seen["box"][stage])
        regions: list[list[Box]] = []
        following: list[list[Box]] = []
        entropy, giou, row = 0.0, 0.0, 0
        for boxes, classes, own, size in zip(TRUTH, LABELS, proposals, SIZES, strict=True):
            truth, labels = boxes.tolist(), classes.tolist()
            candidates: list[tuple[Box, int | None, bool]] = [
                (box, i, True) for i, box in enumerate(truth)
            ]
            for box in own:
                overlaps = [iou(box, true) for true in truth]
                best = max(range(len(truth)), key=overlaps.__getitem__, default=None)
                matched = (
                    best if best is not None and overlaps[best] >= SETTINGS.ious[stage] else None
                )
                candidates.append((box, matched, False))
            candidates.sort(key=lambda c: c[1] is None)  # objects first, in order
            regions.append([box for box, _, _ in candidates])
            following.append([])
            for box, matched, added in candidates:
                label = CLASSES if matched is None else labels[matched]
                logits, offset = scores[row], offsets[row]
                entropy += math.log(sum(math.exp(v) for v in logits)) - logits[label]
                if matched is not None:
                    giou += giou_loss(
                        moved(box, offset[label], SETTINGS.box_stds[stage]), truth[matched]
                    )
                likely = max(range(CLASSES), key=logits.__getitem__) if matched is None else label
                if not added:
                    following[-1].append(moved(box, offset[likely], SETTINGS.box_stds[stage], size))
                row += 1
        yield regions, entropy / row, giou / row
        proposals = following


def test_training_follows_the_cascade(heads, seen):
    proposals = some_proposals()
    losses = heads.losses(some_maps(), proposals, SIZES, some_targets())
    for stage, (regions, entropy, giou) in enumerate(stage_by_stage(proposals, seen)):
        for got, expected in zip(seen["boxes"][2 * stage], regions, strict=True):
            torch.testing.assert_close(got, torch.tensor(expected), atol=1e-3, rtol=1e-4)
        weight = (1, 0.5, 0.25)[stage]
        assert losses[f"class_{stage + 1}"].item() == pytest.approx(weight * entropy, rel=1e-4)
        assert losses[f"box_{stage + 1}"].item() == pytest.approx(weight * 10 * giou, rel=1e-3)
    assert sum(losses[f"box_{n}"].item() for n in (1, 2, 3)) > 0.1


def test_mask_losses_are_means_over_the_objects_of_a_stage(heads, seen):
    targets = some_targets()
    targets[0]["masks"].fill_(1)
    losses = heads.losses(some_maps(), some_proposals(), SIZES, targets)
    for stage, weight in enumerate((1, 0.5, 0.25)):
        boxes = seen["boxes"][2 * stage + 1]
        assert [len(own) for own in boxes][1] == 0 and len(boxes[0]) >= 2
        overlaps = torch.tensor([[iou(b, t) for t in TRUTH[0].tolist()] for b in boxes[0].tolist()])
        labels = LABELS[0][overlaps.argmax(1)]
        logits = seen["mask"][stage][torch.arange(len(labels)), labels].double()
        expected = (1 + (-logits).exp()).log().mean().item()
        assert losses[f"mask_{stage + 1}"].item() == pytest.approx(weight * expected, rel=1e-4)


def test_at_test_logits_and_masks_are_averaged_and_the_last_stage_gives_the_boxes(heads, seen):
    heads.eval()
    proposals = some_proposals()
    found = heads.detect(some_maps(), proposals, SIZES)
    boxes, outputs = (
        [own.tolist() for own in proposals],
        [[out.double() for out in stage] for stage in seen["box"]],
    )
    for stage in range(3):
        for got, expected in zip(seen["boxes"][stage], boxes, strict=True):
            torch.testing.assert_close(got, torch.tensor(expected), atol=1e-3, rtol=1e-4)
        likely, offsets, row, before, boxes = (
            outputs[stage][0][:, :-1].argmax(1),
            outputs[stage][1],
            0,
            boxes,
            [],
        )
        for own, size in zip(before, SIZES, strict=True):
            rows = range(row, row + len(own))
            stds = SETTINGS.box_stds[stage]
            boxes.append(
                [
                    moved(b, offsets[r, likely[r]].tolist(), stds, size)
                    for b, r in zip(own, rows, strict=True)
                ]
            )
            row += len(own)
    mean = sum(stage[0] for stage in outputs) / 3
    probability, row = (mean.exp() / mean.exp().sum(1, keepdim=True))[:, :-1], 0
    for image, (own, size) in enumerate(zip(before, SIZES, strict=True)):
        candidates = [
            (
                probability[row + r, c].item(),
                c,
                moved(b, offsets[row + r, c].tolist(), SETTINGS.box_stds[2], size),
            )
            for r, b in enumerate(own)
            for c in range(CLASSES)
            if probability[row + r, c] > 0.2
        ]
        row += len(own)
        kept: list[tuple[float, int, Box]] = []
        for score, label, box in sorted(candidates, reverse=True):
            if all(other != label or iou(box, b) <= 0.5 for _, other, b in kept):
                kept.append((score, label, box))
        assert 1 < len(kept) < len(candidates)
        assert found[image]["labels"].tolist() == [label for _, label, _ in kept]
        torch.testing.assert_close(
            found[image]["scores"], torch.tensor([s for s, _, _ in kept]), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            found[image]["boxes"], torch.tensor([b for _, _, b in kept]), rtol=1e-4, atol=1e-3
        )
    labels = torch.cat([one["labels"] for one in found])
    masks = sum(out[torch.arange(len(labels)), labels].sigmoid() for out in seen["mask"]) / 3
    torch.testing.assert_close(torch.cat([one["masks"] for one in found]), masks)
    assert masks.shape == (len(labels), 8, 8)


def test_no_more_than_the_best_detections_are_kept(heads):
    heads.eval()
    maps, proposals = some_maps(), some_proposals()
    (every, _), number = heads.detect(maps, proposals, SIZES), 3
    heads.settings = CascadeSettings(**{**vars(SETTINGS), "detections": number})
    (best, _) = heads.detect(maps, proposals, SIZES)
    assert len(every["scores"]) > number
    torch.testing.assert_close(best, {name: part[:number] for name, part in every.items()})


def test_starting_values_are_those_of_mmdetection():
    head = CascadeHeads(CLASSES, CascadeSettings(fpn_channels=64, box_hidden=512)).box_heads[0]
    assert isinstance(head, BoxHead)
    assert head.scores.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert head.offsets.weight.std().item() == pytest.approx(0.001, rel=0.1)
    hidden = head.features[-2].weight
    assert hidden.std().item() == pytest.approx(math.sqrt(2 / sum(hidden.shape)), rel=0.1)
    for name, bias in CascadeHeads(CLASSES, SETTINGS).named_parameters():
        assert not name.endswith("bias") or not bias.any()
