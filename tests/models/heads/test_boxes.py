"""Boxes against the same written plainly in float64."""

from math import exp

import pytest
import torch
from plain_boxes import plain_match

from models.heads.boxes import BACKGROUND, IGNORED, clip, decode, encode, match


def drawn_boxes(number, side=100.0, dtype=torch.float64):
    corners = torch.rand(number, 2, 2, dtype=dtype).sort(dim=1).values * side
    return corners.flatten(1) + torch.tensor([0, 0, 1, 1], dtype=dtype)


def test_decoding_is_what_it_says():
    boxes, offsets, stds = (
        drawn_boxes(20),
        torch.randn(20, 4, dtype=torch.float64),
        (0.1, 0.2, 0.3, 0.4),
    )
    for box, offset, got in zip(
        boxes.tolist(), offsets.tolist(), decode(boxes, offsets, stds).tolist(), strict=True
    ):
        width, height = box[2] - box[0], box[3] - box[1]
        x = box[0] + width / 2 + 0.1 * offset[0] * width
        y = box[1] + height / 2 + 0.2 * offset[1] * height
        width, height = width * exp(0.3 * offset[2]), height * exp(0.4 * offset[3])
        assert got == pytest.approx([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


def test_decoding_undoes_encoding():
    boxes, targets = drawn_boxes(50), drawn_boxes(50)
    stds = torch.tensor([0.033, 0.033, 0.067, 0.067], dtype=torch.float64)
    torch.testing.assert_close(decode(boxes, encode(boxes, targets) / stds, stds.tolist()), targets)


def test_one_box_takes_many_offsets():
    boxes, offsets = drawn_boxes(5), torch.randn(5, 3, 4, dtype=torch.float64)
    expected = torch.stack([decode(boxes, offsets[:, c]) for c in range(3)], dim=1)
    torch.testing.assert_close(decode(boxes.unsqueeze(1), offsets), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_sides_grow_and_shrink_by_no_more_than_mmdetection_lets_them(sign):
    box, offset = torch.tensor([[-500.0, -500, 500, 500]]), torch.tensor([[0.0, 0.0, 99.0, -99.0]])
    x1, y1, x2, y2 = decode(box, sign * offset)[0].tolist()
    sides = (x2 - x1, y2 - y1)[::sign]
    assert sides == (pytest.approx(62_500), pytest.approx(16, rel=1e-4))


@pytest.mark.parametrize("best", [None, 0.3])
def test_matching_is_that_of_mmdetection(best):
    boxes, truth = drawn_boxes(300), drawn_boxes(12)
    expected = plain_match(boxes.tolist(), truth.tolist(), 0.7, 0.3, best)
    assert match(boxes, truth, 0.7, 0.3, best).tolist() == expected
    assert {BACKGROUND, IGNORED} < set(expected)


def test_a_best_box_goes_to_the_last_that_claims_it():
    """One anchor for two true boxes: it overlaps the first more, and both have no better one."""
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20]])
    assert match(torch.tensor([[0.0, 0, 10, 11]]), truth, 0.7, 0.3, None).tolist() == [0]
    assert match(torch.tensor([[0.0, 0, 10, 11]]), truth, 0.7, 0.3, 0.3).tolist() == [1]


def test_a_box_that_nothing_touches_claims_nothing():
    """Its best overlap is 0, as that of every other anchor: torchvision's matcher would make all of
    them objects.
    """
    anchors, truth = (
        drawn_boxes(50),
        torch.tensor([[500.0, 500, 600, 600], [7, 7, 7, 7]], dtype=torch.float64),
    )
    assert match(anchors, truth, 0.7, 0.3, 0.3).tolist() == [BACKGROUND] * 50
    assert match(truth[1:], truth[1:], 0.5, 0.5).tolist() == [BACKGROUND]


def test_without_true_boxes_or_boxes_nothing_is_matched():
    assert match(drawn_boxes(3), drawn_boxes(0), 0.7, 0.3, 0.3).tolist() == [BACKGROUND] * 3
    assert match(drawn_boxes(0), drawn_boxes(2), 0.7, 0.3, 0.3).tolist() == []


def test_boxes_are_cut_at_their_own_images_edges():
    box = torch.tensor([[-5.0, -5, 50, 50]])
    assert [b.tolist() for b in clip([box, box], [(10, 20), (60, 60)])] == [
        [[0, 0, 20, 10]],
        [[0, 0, 50, 50]],
    ]
