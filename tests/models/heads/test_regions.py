"""Regions: the exact place they are cut from, the level, and how they are sampled."""

import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from models.heads.boxes import BACKGROUND
from models.heads.regions import pool, sample


def ramps(height, width):
    """Maps at strides 4 to 32 whose values are the (x, y) of a cell's centre in the image."""
    maps = []
    for stride in (4, 8, 16, 32):
        y, x = torch.meshgrid(
            *(torch.arange(n // stride) + 0.5 for n in (height, width)), indexing="ij"
        )
        maps.append(torch.stack((x * stride, y * stride)).unsqueeze(0))
    return maps


@pytest.mark.parametrize(
    "box", [[37.0, 41.5, 90.25, 80.0], [40.0, 64.0, 200.0, 200.0], [33.0, 17.0, 230.0, 225.0]]
)
def test_a_region_is_cut_exactly_where_it_lies(box):
    x1, y1, x2, y2 = box
    x, y = pool(ramps(256, 256), [torch.tensor([box])], 7)[0]
    steps = (torch.arange(7) + 0.5) / 7
    torch.testing.assert_close(x, (x1 + (x2 - x1) * steps).expand(7, 7), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        y, (y1 + (y2 - y1) * steps).unsqueeze(1).expand(7, 7), atol=1e-3, rtol=0
    )


def test_each_doubling_of_a_region_comes_from_the_next_level():
    maps = [
        torch.full((2, 1, 256 // 2**level, 256 // 2**level), float(level)) for level in range(5)
    ]
    sides = [0.0, 1.0, 111.0, 112.0, 223.0, 224.0, 447.0, 448.0, 1000.0]
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides])
    levels = pool(maps, [boxes[:4], boxes[4:]], 2)
    assert levels[1:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert levels.isfinite().all()


def test_regions_come_from_their_own_image():
    maps = [torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 64, 64)] * 4
    box = torch.tensor([[8.0, 8, 40, 40]])
    assert pool(maps, [box[:0], box], 3).unique().tolist() == [1]
    assert pool(maps, [box[:0], box[:0]], 3).shape == (0, 3, 3, 3)


def test_samples_hold_true_boxes_first_and_at_most_a_quarter_objects():
    truth = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    near = truth[:1] + torch.rand(40, 1)
    far = torch.tensor([[200.0, 200, 210, 210]]) + torch.rand(60, 1)
    drawn = sample(torch.cat((far, near)), truth, 0.5, BalancedPositiveNegativeSampler(32, 0.25))
    assert len(drawn.boxes) == 32 and drawn.positive.tolist() == [True] * 8 + [False] * 24
    assert (drawn.matched[drawn.positive] >= 0).all() and (
        drawn.matched[~drawn.positive] == BACKGROUND
    ).all()
    few = sample(near[:3], truth, 0.5, BalancedPositiveNegativeSampler(32, 0.25))
    assert few.added.tolist() == [True, True, False, False, False]
    assert few.matched.tolist() == [0, 1, 0, 0, 0]
    torch.testing.assert_close(few.boxes[few.added], truth)
