"""The whole detector: what it gives, odd batches, repeatability, and that it learns."""

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from models.heads import create_detector, paste

SIDE = 64


def loss_names():
    return {
        "rpn_objectness",
        "rpn_box",
        *(f"{kind}_{n}" for kind in ("class", "box", "mask") for n in (1, 2, 3)),
    }


def many_boxes(number=500, side=SIDE):
    corners = torch.rand(number, 2, 2).sort(dim=1).values * (side - 2)
    return (corners.flatten(1) + torch.tensor([0.0, 0, 1, 1])).tolist()


BATCHES = {
    "no boxes at all": [[], []],
    "an image without boxes": [[[5, 5, 40, 40]], []],
    "a box of one pixel": [[[5, 5, 6, 6]], [[63, 63, 64, 64]]],
    "boxes without area": [
        [[5, 5, 5, 40], [9, 9, 9, 9], [30, 30, 20, 20]],
        [[4, 4, 44, 44], [8, 8, 20, 8]],
    ],
    "the whole image": [[[0, 0, SIDE, SIDE]], [[0, 0, SIDE, SIDE]] * 2],
    "five hundred boxes": [many_boxes(), many_boxes(3)],
}


@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES.keys())
def test_every_batch_has_losses_and_a_gradient_for_every_parameter(detector, target, boxes):
    model = detector()
    targets = [target(own, SIDE, SIDE) for own in boxes]
    losses = model(torch.randn(2, 3, SIDE, SIDE), [(SIDE, SIDE), (50, SIDE)], targets)
    assert losses.keys() == loss_names()
    assert all(loss.shape == () and loss.isfinite() and loss >= 0 for loss in losses.values())
    sum(losses.values()).backward()
    without = [
        n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert without == []
    if not any(boxes):
        assert {name for name, loss in losses.items() if loss == 0} == loss_names() - {
            "rpn_objectness",
            "class_1",
            "class_2",
            "class_3",
        }


def test_boxes_without_area_count_as_no_boxes(detector, target):
    model, images = detector(), torch.randn(1, 3, SIDE, SIDE)

    def losses(boxes):
        torch.manual_seed(1)
        return model(images, [(SIDE, SIDE)], [target(boxes, SIDE, SIDE)])

    empty = losses([])
    for boxes in ([[5, 5, 5, 40]], [[9, 9, 9, 9]], [[30, 30, 20, 40]]):
        torch.testing.assert_close(losses(boxes), empty, rtol=0, atol=0)
    assert losses([[5, 5, 15, 40]])["class_1"] != empty["class_1"]


def test_a_very_long_image_goes_through(detector, target):
    model = detector(proposals={"anchor_scale": 8})
    images, sizes = torch.zeros(2, 3, 5000, 50), [(5000, 50), (40, 40)]
    images[0].normal_()
    losses = model(images, sizes, [target([[5, 4000, 45, 4900]], 5000, 50), target([], 5000, 50)])
    assert all(loss.isfinite() for loss in losses.values())
    with torch.no_grad():
        found = model.eval()(images, sizes)
    for one, (height, width) in zip(found, sizes, strict=True):
        assert (one["boxes"] >= 0).all()
        assert (one["boxes"][:, 0::2] <= width).all() and (one["boxes"][:, 1::2] <= height).all()


def test_autocast_leaves_boxes_and_losses_in_float32(detector, target):
    model, images = detector(), torch.randn(2, 3, SIDE, SIDE)
    targets = [target([[5, 5, 40, 40]], SIDE, SIDE)] * 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(images, [(SIDE, SIDE)] * 2, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        found = model.eval()(images, [(SIDE, SIDE)] * 2)
    assert {found[0][name].dtype for name in ("boxes", "scores", "masks")} == {torch.float32}


def test_detections_are_what_is_promised(detector):
    model = detector(cascade={"detections": 7, "mask_size": 12}).eval()
    with torch.no_grad():
        found = model(torch.randn(3, 3, SIDE, SIDE), [(SIDE, SIDE), (40, 30), (SIDE, 20)])
    for one, (height, width) in zip(found, [(SIDE, SIDE), (40, 30), (SIDE, 20)], strict=True):
        number = len(one["scores"])
        assert 0 < number <= 7
        assert one["boxes"].shape == (number, 4) and one["masks"].shape == (number, 12, 12)
        assert (one["boxes"][:, 0::2] <= width).all() and (one["boxes"][:, 1::2] <= height).all()
        assert (one["scores"].diff() <= 0).all() and (one["scores"] > 0.05).all()
        assert ((one["masks"] >= 0) & (one["masks"] <= 1)).all() and set(
            one["labels"].tolist()
        ) <= {0, 1, 2}


def test_nothing_found_is_an_empty_detection(detector):
    model = detector(cascade={"score_threshold": 0.99}).eval()
    with torch.no_grad():
        found = model(torch.randn(2, 3, SIDE, SIDE), [(SIDE, SIDE)] * 2)
    assert [{name: part.shape for name, part in one.items()} for one in found] == [
        {"boxes": (0, 4), "labels": (0,), "scores": (0,), "masks": (0, 28, 28)}
    ] * 2


def test_the_seed_decides_everything(detector, target):
    def run(seed):
        torch.manual_seed(0)
        model, images = detector(), torch.randn(2, 3, SIDE, SIDE)
        torch.manual_seed(seed)
        losses = model(images, [(SIDE, SIDE)] * 2, [target(many_boxes(9), SIDE, SIDE)] * 2)
        sum(losses.values()).backward()
        return [*losses.values(), *(p.grad for p in model.parameters())]

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_what_lies_beyond_the_valid_part_has_no_anchors_and_proposals(detector, target):
    """Images are zero there; sizes alone decide where proposals and anchors may be."""
    model = detector().eval()
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        (found,) = model(images, [(20, 30)])
        (whole,) = model(images, [(SIDE, SIDE)])
    assert found["boxes"].amax(0)[2:].tolist() <= [30, 20] and whole["boxes"].amax() > 30


def test_published_names_build_on_meta():
    with torch.device("meta"):
        model = create_detector("dwnet_tiny", 7)
    scores = model.get_submodule("heads.box_heads.2.scores")
    assert isinstance(scores, nn.Linear) and scores.out_features == 8
    assert len(model.heads.mask_heads) == 3


def draw_two():
    """One image of 64 pixels with a bright and a dark rectangle, its target."""
    boxes = torch.tensor([[6.0, 8, 34, 30], [30.0, 36, 60, 58]])
    image = 0.1 * torch.randn(3, SIDE, SIDE)
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    for value, mask, (x1, y1, x2, y2) in zip((2, -2), masks, boxes.int().tolist(), strict=True):
        image[:, y1:y2, x1:x2] += value
        mask[y1:y2, x1:x2] = 1
    return image.unsqueeze(0), {"boxes": boxes, "labels": torch.tensor([0, 2]), "masks": masks}


def test_it_learns_to_find_two_boxes(detector):
    model = detector(cascade={"regions": 16})
    image, truth = draw_two()
    steps, rate = 160, 5e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = []
    for _ in range(steps):
        loss = sum(model(image, [(SIDE, SIDE)], [truth]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(loss.item())
    assert sum(history[-5:]) < 0.5 * sum(history[:5])
    with torch.no_grad():
        (found,) = model.eval()(image, [(SIDE, SIDE)])
    pasted = paste(found["masks"], found["boxes"], (SIDE, SIDE))
    for box, label, mask in zip(
        truth["boxes"], truth["labels"], truth["masks"].bool(), strict=True
    ):
        overlaps = box_iou(found["boxes"], box.unsqueeze(0)).squeeze(1) * (found["labels"] == label)
        best = overlaps.argmax()
        assert overlaps[best] > 0.7 and found["scores"][best] > 0.4
        assert (pasted[best] & mask).sum() / (pasted[best] | mask).sum() > 0.7


def test_an_object_without_a_mask_counts_for_boxes_alone(detector, target):
    model, images = detector(), torch.randn(1, 3, SIDE, SIDE)
    whole = target([[5, 5, 40, 40], [20, 30, 60, 60]], SIDE, SIDE)

    def losses(masked, masks=whole["masks"]):
        torch.manual_seed(1)
        return model(
            images, [(SIDE, SIDE)], [{**whole, "masks": masks, "masked": torch.tensor(masked)}]
        )

    torch.manual_seed(1)
    plain, some, none = (
        model(images, [(SIDE, SIDE)], [whole]),
        losses([True, False]),
        losses([False, False]),
    )
    torch.testing.assert_close(losses([True, True]), plain, rtol=0, atol=0)
    for name in loss_names():
        assert (
            (some[name] == plain[name])
            == (none[name] == plain[name])
            == (not name.startswith("mask"))
        ), name
        assert not name.startswith("mask") or none[name] == 0 < some[name]
    scrambled = whole["masks"].clone()
    scrambled[1] = 1 - scrambled[1]
    torch.testing.assert_close(losses([True, False], scrambled), some, rtol=0, atol=0)
    sum(none.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
