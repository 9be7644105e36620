"""The aggregations on a GPU against the readable sum in float64 (`make test-gpu`)."""

import pytest
import torch
from models_reference import aggregate_reference

from models.aggregate import aggregate, kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.mark.parametrize("choice", ["plain", "native"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "weights", [(1, 32, 49, 1, 1), (4, 32, 49, 1, 1), (4, 8, 49, 13, 9), (1, 32, 49, 13, 9)]
)
def test_values_and_gradients_are_those_of_float64(weights, dtype, choice):
    inputs = [
        torch.randn(shape, device="cuda", dtype=dtype).requires_grad_()
        for shape in ((4, 32, 13, 9), weights)
    ]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    with kernels(choice):
        got = aggregate(*inputs)
    right = aggregate_reference(*exact)
    direction = torch.randn_like(got)
    mine = (got, *torch.autograd.grad(got, inputs, direction))
    theirs = (right, *torch.autograd.grad(right, exact, direction.double()))
    tolerance = 1e-5 if dtype == torch.float32 else 2**-6
    for one, other in zip(mine, theirs, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, atol=tolerance * scale, rtol=0)
