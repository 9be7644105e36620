"""The segmenter: shapes, its loss, and that it learns."""

import pytest
import torch

from models.heads import segmentation_loss
from models.heads.segmenter import PyramidPooling


def test_training_gives_two_maps_and_eval_one(segmenter):
    model, images = segmenter(), torch.randn(2, 3, 72, 100)
    outputs = model(images)
    assert {name: tuple(out.shape) for name, out in outputs.items()} == {
        "logits": (2, 3, 18, 25),
        "auxiliary": (2, 3, 5, 7),
    }
    assert model.eval()(images).shape == (2, 3, 18, 25)


def test_every_parameter_has_a_gradient_even_if_all_pixels_are_ignored(segmenter):
    model = segmenter("dynamic_dwnet_micro")
    loss = segmentation_loss(model(torch.randn(2, 3, 64, 64)), torch.full((2, 64, 64), 255))
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def plain_loss(logits, labels):
    """Bilinear to the size of the labels, pixel by pixel, in float64; the mean over all pixels."""
    batch, _, height, width = logits.shape
    total, (rows, columns) = 0.0, labels.shape[1:]
    for b in range(batch):
        for row in range(rows):
            for column in range(columns):
                if labels[b, row, column] == 255:
                    continue
                y = min(max((row + 0.5) * height / rows - 0.5, 0), height - 1)
                x = min(max((column + 0.5) * width / columns - 0.5, 0), width - 1)
                y0, x0 = int(y), int(x)
                y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                upper = logits[b, :, y0, x0] * (1 - x + x0) + logits[b, :, y0, x1] * (x - x0)
                lower = logits[b, :, y1, x0] * (1 - x + x0) + logits[b, :, y1, x1] * (x - x0)
                value = upper * (1 - y + y0) + lower * (y - y0)
                total += value.logsumexp(0) - value[labels[b, row, column]]
    return (total / labels.numel()).item()


def test_the_loss_is_that_of_mmsegmentation():
    outputs = {"logits": torch.randn(2, 5, 4, 3), "auxiliary": torch.randn(2, 5, 1, 2)}
    labels = torch.randint(0, 5, (2, 14, 11))
    labels[:, 3:8] = 255
    main, auxiliary = (
        plain_loss(outputs[name].double(), labels) for name in ("logits", "auxiliary")
    )
    got = segmentation_loss(outputs, labels, auxiliary_weight=0.7).item()
    assert got == pytest.approx(main + 0.7 * auxiliary, rel=1e-5)
    assert segmentation_loss(outputs["logits"], labels).item() == pytest.approx(main, rel=1e-5)


def test_the_loss_is_float32_under_autocast(segmenter):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = segmentation_loss(
            segmenter()(torch.randn(2, 3, 64, 64)), torch.zeros(2, 64, 64, dtype=torch.int64)
        )
    assert loss.dtype == torch.float32
    # Resized in float32 too: in half precision it would be the loss of other logits.
    outputs, labels = torch.randn(2, 5, 4, 3).bfloat16(), torch.ones(2, 17, 13, dtype=torch.int64)
    torch.testing.assert_close(
        segmentation_loss(outputs, labels), segmentation_loss(outputs.float(), labels)
    )


def test_pyramid_pooling_sees_the_whole_map():
    module = PyramidPooling(4, 4, (1, 2)).eval()
    x = torch.randn(1, 4, 9, 9)
    far = x.clone()
    far[..., 8, 8] += 100
    assert ((module(far) - module(x))[..., 0, 0] != 0).any()


def test_the_seed_decides_everything(segmenter):
    def run(seed):
        torch.manual_seed(0)
        model, images = segmenter(), torch.randn(2, 3, 64, 64)
        torch.manual_seed(seed)
        loss = segmentation_loss(model(images), torch.ones(2, 64, 64, dtype=torch.int64))
        loss.backward()
        return [loss, *(p.grad for p in model.parameters())]

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_it_learns_an_image(segmenter):
    model = segmenter()
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[:, 20:50, 10:40] = 1
    labels[:, :8] = 255
    images = labels.clamp(max=1).unsqueeze(1).expand(-1, 3, -1, -1) + 0.1 * torch.randn(
        2, 3, 64, 64
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(25):
        loss = segmentation_loss(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(
            model.eval()(images), size=(64, 64), mode="bilinear"
        )
    wrong = (logits.argmax(1) != labels) & (labels != 255)
    assert wrong.float().mean() < 0.03
