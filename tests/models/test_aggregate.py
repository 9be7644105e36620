"""Every path of the aggregation against the readable sum, in float64, and its gradients against
differences.
"""

import pytest
import torch
from models_reference import aggregate_reference
from torch import Tensor
from torch.nn import functional as F

from models.aggregate import aggregate, aggregate_predicted

# Batch, channels, height, width, groups, kernel size: also maps smaller than the kernel and long
# ones.
SHAPES = [(2, 6, 5, 7, 3, 3), (3, 4, 2, 2, 4, 7), (2, 4, 9, 3, 1, 5), (1, 4, 6, 6, 2, 1)]
SHARING = ["static", "per_image", "per_position", "static_per_position"]
PredictedOperands = tuple[Tensor, Tensor, Tensor, Tensor]
LAYOUTS = ["contiguous_format", "channels_last"]


def operands(shape, sharing, layout="contiguous_format", dtype=torch.float64):
    batch, channels, height, width, groups, size = shape
    x = torch.randn(batch, channels, height, width, dtype=dtype)
    weight_batch = 1 if sharing in ("static", "static_per_position") else batch
    positions = (height, width) if "position" in sharing else (1, 1)
    weight = torch.randn(weight_batch, groups, size * size, *positions, dtype=dtype)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)
    bias = torch.randn(channels, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (x, weight, bias)]


def by_definition(x, weight):
    """The sum written out element by element."""
    batch, channels, height, width = x.shape
    groups, size = weight.shape[1], int(weight.shape[2] ** 0.5)
    weight = weight.expand(batch, -1, -1, height, width)
    y = torch.zeros_like(x)
    for b in range(batch):
        for c in range(channels):
            for h in range(height):
                for w in range(width):
                    for k in range(size * size):
                        row, column = h + k // size - size // 2, w + k % size - size // 2
                        if 0 <= row < height and 0 <= column < width:
                            group = c // (channels // groups)
                            y[b, c, h, w] += weight[b, group, k, h, w] * x[b, c, row, column]
    return y


@pytest.mark.parametrize("sharing", SHARING)
def test_the_reference_is_the_definition(sharing):
    x, weight, _ = (tensor.detach() for tensor in operands((2, 4, 2, 3, 2, 3), sharing))
    torch.testing.assert_close(aggregate_reference(x, weight), by_definition(x, weight))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_the_reference(shape, sharing, layout):
    inputs = operands(shape, sharing, layout)
    got, expected = aggregate(*inputs), aggregate_reference(*inputs)
    torch.testing.assert_close(got, expected)
    direction = in_other_layout(torch.randn_like(expected))
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def in_other_layout(x):
    """The same values with the channels innermost: what comes back from a network in
    channels_last.
    """
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sharing", SHARING)
def test_gradcheck(sharing, layout):
    assert torch.autograd.gradcheck(
        aggregate, operands((2, 4, 3, 2, 2, 3), sharing, layout), fast_mode=True
    )


@pytest.mark.parametrize("only", [0, 1])
def test_gradient_of_one_operand_alone(only):
    inputs = [tensor.detach() for tensor in operands(SHAPES[0], "per_position")[:2]]
    inputs[only].requires_grad_()
    got = torch.autograd.grad(aggregate(*inputs).sum(), inputs[only])[0]
    torch.testing.assert_close(
        got, torch.autograd.grad(aggregate_reference(*inputs).sum(), inputs[only])[0]
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sharing", SHARING)
def test_shorter_types_stay_close_forward_and_backward(sharing, dtype, layout):
    inputs = [
        t.detach().to(dtype).requires_grad_() for t in operands((2, 8, 6, 6, 4, 7), sharing, layout)
    ]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    got, expected = aggregate(*inputs), aggregate_reference(*exact)
    direction = torch.randn_like(expected).to(dtype)
    gradients = torch.autograd.grad(got, inputs, direction)
    theirs = torch.autograd.grad(expected, exact, direction.double())
    tolerance = 4 * torch.finfo(dtype).eps * 7
    for mine, right in zip((got, *gradients), (expected, *theirs), strict=True):
        assert mine.dtype == dtype and mine.shape == right.shape
        torch.testing.assert_close(
            mine.double(), right, atol=tolerance * right.abs().max().item(), rtol=0
        )


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11, 13])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6, 12])
def test_every_odd_kernel_and_every_divisor(size, groups):
    for sharing in SHARING:
        inputs = operands((2, 12, 4, 6, groups, size), sharing)
        torch.testing.assert_close(aggregate(*inputs), aggregate_reference(*inputs))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_static_weights_of_every_channel_are_a_depthwise_convolution(size):
    x, weight, bias = operands((2, 6, 8, 5, 6, size), "static")
    expected = F.conv2d(x, weight.view(6, 1, size, size), bias, padding=size // 2, groups=6)
    torch.testing.assert_close(aggregate_reference(x, weight, bias), expected)
    torch.testing.assert_close(aggregate(x, weight, bias), expected)


@pytest.mark.parametrize("sharing", SHARING)
def test_any_weights_are_a_product_with_the_unfolded_map(sharing):
    x, weight, bias = operands((2, 6, 5, 4, 3, 3), sharing)
    columns = F.unfold(x, 3, padding=1).view(2, 3, 2, 9, 5, 4)
    expected = (columns * weight.unsqueeze(2)).sum(dim=3).view_as(x) + bias.view(1, -1, 1, 1)
    torch.testing.assert_close(aggregate(x, weight, bias), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_predicted_weights_in_shorter_types(dtype):
    inputs = leaves_of(dtype, *predicted_operands((2, 8, 6, 6, 4, 7)))
    exact = leaves_of(torch.float64, *inputs)
    got, expected = aggregate_predicted(*inputs, 4), predicted_reference(*exact, 4)
    gradients = torch.autograd.grad(got.sum(), inputs)
    theirs = torch.autograd.grad(expected.sum(), exact)
    tolerance = 4 * torch.finfo(dtype).eps * 7
    for mine, right in zip((got, *gradients), (expected, *theirs), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(
            mine.double(), right, atol=tolerance * right.abs().max().item(), rtol=0
        )


def test_a_path_never_writes_into_its_operands():
    for sharing in SHARING:
        inputs = [tensor.detach() for tensor in operands(SHAPES[0], sharing)]
        copies = [tensor.clone() for tensor in inputs]
        aggregate(*inputs)
        assert all(torch.equal(one, other) for one, other in zip(inputs, copies, strict=True))


@pytest.mark.parametrize(
    ("x", "weight", "words"),
    [
        ((2, 4, 5, 5), (1, 3, 9, 1, 1), "3 groups do not divide 4 channels"),
        ((2, 4, 5, 5), (1, 4, 16, 1, 1), "odd K"),
        ((2, 4, 5, 5), (1, 4, 10, 1, 1), "odd K"),
        ((2, 4, 5, 5), (3, 4, 9, 1, 1), "fits neither"),
        ((2, 4, 5, 5), (2, 4, 9, 5, 1), "fits neither"),
        ((4, 5, 5), (1, 4, 9, 1, 1), "aggregate takes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight, words):
    with pytest.raises(ValueError, match=words):
        aggregate(torch.zeros(x), torch.zeros(weight))


def predicted_operands(shape, features=3, dtype=torch.float64) -> PredictedOperands:
    batch, channels, height, width, groups, size = shape
    return (
        torch.randn(batch, channels, height, width, dtype=dtype, requires_grad=True),
        torch.randn(batch, features, height, width, dtype=dtype, requires_grad=True),
        torch.randn(groups * size * size, features, dtype=dtype, requires_grad=True),
        torch.randn(groups * size * size, dtype=dtype, requires_grad=True),
    )


def leaves_of(dtype, *operands: Tensor) -> PredictedOperands:
    """The same numbers in another type, as leaves of graphs of their own."""
    x, features, projection, bias = (t.detach().to(dtype).requires_grad_() for t in operands)
    return x, features, projection, bias


def predicted_reference(x, features, projection, bias, groups):
    weight = F.conv2d(features, projection[:, :, None, None], bias)
    return aggregate_reference(x, weight.unflatten(1, (groups, -1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_predicted_weights_are_the_reference(shape):
    inputs, groups = predicted_operands(shape), shape[4]
    got, expected = aggregate_predicted(*inputs, groups), predicted_reference(*inputs, groups)
    torch.testing.assert_close(got, expected)
    direction = in_other_layout(torch.randn_like(expected))
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_predicted_weights_gradcheck():
    inputs = predicted_operands((2, 4, 3, 2, 2, 3))
    assert torch.autograd.gradcheck(
        lambda x, features, projection, bias: aggregate_predicted(x, features, projection, bias, 2),
        inputs,
    )


def test_predicted_weights_keep_float32_sums_under_autocast():
    inputs = predicted_operands((2, 8, 6, 6, 4, 7), dtype=torch.float32)
    expected = predicted_reference(*leaves_of(torch.float64, *inputs), 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = aggregate_predicted(*inputs, 4)
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-4)
    got.sum().backward()
    assert all(tensor.grad is not None and tensor.grad.dtype == torch.float32 for tensor in inputs)


def test_predicted_weights_refuse_groups_that_do_not_fit():
    with pytest.raises(ValueError, match="do not divide"):
        aggregate_predicted(*predicted_operands((2, 6, 3, 3, 3, 3)), 4)
