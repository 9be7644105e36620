"""The region proposal network against the same written plainly."""

import math

import pytest
import torch
from plain_boxes import plain_match
from torchvision.ops import box_iou

from models.heads.boxes import BACKGROUND, IGNORED
from models.heads.proposals import ProposalNetwork, make_anchors
from models.heads.settings import ProposalSettings

CHANNELS = 4


def maps_of(height, width, batch=1):
    """Maps of a pyramid over an image, sides rounded up."""
    shapes = [(-(-height // stride), -(-width // stride)) for stride in (4, 8, 16, 32, 64)]
    return [torch.randn(batch, CHANNELS, *shape) for shape in shapes]


def shapes_of(maps):
    return [tuple(m.shape[2:]) for m in maps]


def test_anchors_stand_at_multiples_of_the_stride_with_the_right_area():
    levels = make_anchors(shapes_of(maps_of(100, 72)), ProposalSettings(), torch.device("cpu"))
    for level, (stride, anchors) in enumerate(zip((4, 8, 16, 32, 64), levels, strict=True)):
        rows, columns = -(-100 // stride), -(-72 // stride)
        assert anchors.shape == (rows * columns * 3, 4), level
        own = anchors.view(rows, columns, 3, 4)
        x, y = (own[..., 0] + own[..., 2]) / 2, (own[..., 1] + own[..., 3]) / 2
        torch.testing.assert_close(
            x, (torch.arange(columns) * float(stride)).view(1, -1, 1).expand_as(x)
        )
        torch.testing.assert_close(
            y, (torch.arange(rows) * float(stride)).view(-1, 1, 1).expand_as(y)
        )
        width, height = own[..., 2] - own[..., 0], own[..., 3] - own[..., 1]
        torch.testing.assert_close(width * height, torch.full_like(width, (8.0 * stride) ** 2))
        torch.testing.assert_close(height / width, torch.tensor([0.5, 1.0, 2.0]).expand_as(width))


def network(**settings):
    return ProposalNetwork(CHANNELS, ProposalSettings(**settings))


def test_anchors_that_cross_the_edge_of_the_valid_part_are_ignored():
    anchors = torch.cat(
        make_anchors(shapes_of(maps_of(128, 128)), ProposalSettings(), torch.device("cpu"))
    )
    matched = network()._match(
        anchors, (100, 90), torch.tensor([[0.0, 0, 90, 100], [5, 5, 40, 40]])
    )
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] < 90) & (anchors[:, 3] < 100)
    assert inside.any() and (matched[~inside] == IGNORED).all()
    assert (matched[inside] == BACKGROUND).any() and (matched[inside] >= 0).any()


def test_losses_are_those_of_mmdetection_when_every_anchor_is_sampled():
    net = network(anchor_scale=4, sampled=10_000, smooth_l1_beta=0.5)
    outputs = []
    net.head.register_forward_hook(lambda _, __, out: outputs.append(out))
    maps, sizes = maps_of(64, 96, batch=2), [(64, 80), (50, 96)]
    truth = [torch.tensor([[10.0, 8, 31, 25], [40, 30, 70, 60]]), torch.zeros(0, 4)]
    _, losses = net(maps, sizes, truth)
    anchors = (
        torch.cat(make_anchors(shapes_of(maps), net.settings, torch.device("cpu")))
        .double()
        .tolist()
    )
    scores, offsets = outputs[0]
    objectness = boxes = number = 0.0
    for image, (height, width) in enumerate(sizes):
        flat_scores = (
            torch.cat([s[image].permute(1, 2, 0).flatten() for s in scores]).double().tolist()
        )
        flat_offsets = (
            torch.cat([o[image].permute(1, 2, 0).reshape(-1, 4) for o in offsets]).double().tolist()
        )
        numbers = [0, 0]
        inside = [
            i
            for i, a in enumerate(anchors)
            if a[0] >= 0 and a[1] >= 0 and a[2] < width and a[3] < height
        ]
        if len(truth[image]):
            found = plain_match(
                [anchors[i] for i in inside], truth[image].double().tolist(), 0.7, 0.3, 0.3
            )
        else:
            found = [BACKGROUND] * len(inside)
        for i, match in zip(inside, found, strict=True):
            if match == IGNORED:
                continue
            numbers[match >= 0] += 1
            sign = 1 if match >= 0 else -1
            objectness += math.log1p(math.exp(-sign * flat_scores[i]))
            if match >= 0:
                boxes += smooth_l1(
                    anchors[i], truth[image][match].tolist(), flat_offsets[i], beta=0.5
                )
        # mmdetection counts an image without positive anchors as if it had one: the second has no
        # boxes.
        number += sum(max(1, count) for count in numbers)
    assert losses["rpn_objectness"].item() == pytest.approx(objectness / number, rel=1e-5)
    assert losses["rpn_box"].item() == pytest.approx(boxes / number, rel=1e-5)
    assert boxes > 0


def smooth_l1(anchor, true, offset, beta):
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    wanted = (
        (true[0] + true[2] - anchor[0] - anchor[2]) / 2 / width,
        (true[1] + true[3] - anchor[1] - anchor[3]) / 2 / height,
        math.log((true[2] - true[0]) / width),
        math.log((true[3] - true[1]) / height),
    )
    errors = [abs(a - b) for a, b in zip(wanted, offset, strict=True)]
    return sum(e * e / 2 / beta if e < beta else e - beta / 2 for e in errors)


def test_proposals_lie_in_the_valid_part_and_do_not_repeat_each_other():
    net = network(anchor_scale=4, kept_test=40)
    maps, sizes = maps_of(96, 128, batch=2), [(96, 128), (40, 70)]
    (first, second), losses = net(maps, sizes, None)
    assert losses == {} and len(first) == 40 and 0 < len(second) <= 40
    for boxes, (height, width) in ((first, sizes[0]), (second, sizes[1])):
        assert (boxes >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= 0).all()
    anchors = make_anchors(shapes_of(maps), net.settings, torch.device("cpu"))[0]
    one_level = net._propose(
        [torch.randn(len(anchors))], [torch.randn(anchors.shape)], [anchors], (96, 128), 5000
    )
    overlaps = (
        box_iou(one_level, one_level).fill_diagonal_(0).nan_to_num()
    )  # 0 / 0 between boxes without area
    assert 1 < len(one_level) < len(anchors) and overlaps.max() <= 0.7


def test_proposals_that_clipping_leaves_no_area_stay():
    """mmdetection 2.11 drops boxes below `min_bbox_size` where that is above 0, and the recipe's is
    0.
    """
    net = network(kept_test=3)
    anchor = torch.tensor([[40.0, 40, 50, 60]]).expand(3, 4)
    offsets = torch.tensor([[0.0, 0, 0, 0], [9, 0, 0, 0], [-9, -9, 0, 0]])
    boxes = net._propose([torch.tensor([1.0, 2, 3])], [offsets], [anchor], (80, 90), 3)
    assert boxes.tolist() == [[0, 0, 0, 0], [90, 40, 90, 60], [40, 40, 50, 60]]


def test_diverged_weights_give_proposals_inside_the_image():
    net = network()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(torch.nan)
    (boxes,), _ = net(maps_of(64, 64), [(50, 60)], None)
    assert len(boxes) and (boxes >= 0).all() and (boxes <= torch.tensor([60, 50, 60, 50])).all()


def test_half_precision_maps_have_float32_boxes_and_losses():
    net = network(anchor_scale=4).bfloat16()
    maps = [values.bfloat16() for values in maps_of(64, 64)]
    (boxes,), losses = net(maps, [(64, 64)], [torch.tensor([[10.0, 8, 31, 25]])])
    assert {boxes.dtype, *(loss.dtype for loss in losses.values())} == {torch.float32}


def test_an_image_smaller_than_every_anchor_has_no_loss():
    _, losses = network()(maps_of(16, 16), [(16, 16)], [torch.tensor([[2.0, 2, 9, 9]])])
    assert {name: loss.item() for name, loss in losses.items()} == {
        "rpn_objectness": 0,
        "rpn_box": 0,
    }
