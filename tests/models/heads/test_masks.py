"""Masks: cut out of an image for training, and put back into one."""

import pytest
import torch
from torch.nn import functional as F

from models.heads import masks as module
from models.heads import paste
from models.heads.masks import mask_targets


@pytest.fixture(params=[2**24, 1], ids=["at once", "one by one"])
def at_once(request, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", request.param)


def test_the_target_of_a_rectangle_is_its_part_of_the_region(at_once):
    image = torch.zeros(2, 40, 60, dtype=torch.uint8)
    image[0, 10:20, 10:30] = 1
    image[1] = 1
    boxes = torch.tensor([[10.0, 10, 30, 20], [20, 10, 40, 30], [0, 0, 5, 5], [0, 0, 60, 40]])
    full, corner, none, other = mask_targets(image, torch.tensor([0, 0, 0, 1]), boxes, 8)
    assert full.all() and not none.any() and other.all()
    expected = torch.zeros(8, 8)
    expected[:4, :4] = 1
    torch.testing.assert_close(corner, expected)
    # Cells of one pixel: half a pixel beside it would be another cell.
    (shifted,) = mask_targets(image, torch.tensor([0]), torch.tensor([[26.0, 12, 34, 20]]), 8)
    torch.testing.assert_close(shifted, (torch.arange(8) < 4).float().expand(8, 8))


def test_no_regions_have_no_targets():
    assert mask_targets(
        torch.zeros(0, 9, 9), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 8
    ).shape == (
        0,
        8,
        8,
    )


def sampled(masks, boxes, height, width):
    """The same by `grid_sample`, in float64."""
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (height, width))
    x1, y1, x2, y2 = (side.view(-1, 1, 1) for side in boxes.double().unbind(1))
    grid_x = ((x - x1) / (x2 - x1) * 2 - 1).expand(-1, height, -1)
    grid_y = ((y.view(-1, 1) - y1) / (y2 - y1) * 2 - 1).expand(-1, -1, width)
    grid = torch.stack((grid_x, grid_y), dim=3)
    return F.grid_sample(masks.double().unsqueeze(1), grid, align_corners=False).squeeze(1)


def test_pasting_interpolates_between_the_centres_of_cells(at_once):
    masks = torch.rand(12, 7, 7)
    corners = (torch.rand(12, 2, 2).sort(dim=1).values * 50 - 5).flatten(1)
    boxes = corners + torch.tensor([0.0, 0, 3, 3])
    expected = sampled(masks, boxes, 40, 50)
    sure = (expected - 0.5).abs() > 1e-4
    pasted = paste(masks, boxes, (40, 50))
    assert pasted.dtype == torch.bool and pasted.shape == (12, 40, 50)
    assert sure.float().mean() > 0.99 and torch.equal(pasted[sure], (expected >= 0.5)[sure])


def test_a_full_mask_fills_its_box_and_a_box_without_area_nothing(at_once):
    boxes = torch.tensor([[3.0, 4, 9, 8], [5, 5, 5, 9], [5.5, 5.5, 5.5, 9], [2, 2, 3, 3]])
    first, second, third, pixel = paste(torch.ones(4, 28, 28), boxes, (12, 12))
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[4:8, 3:9] = True
    assert torch.equal(first, expected)
    assert not second.any() and not third.any()
    assert pixel.nonzero().tolist() == [[2, 2]]


def test_nothing_pasted_is_nothing():
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6)).shape == (0, 5, 6)
