"""Every mixer compiles as one graph: a break would hand each block back to Python."""

import pytest
import torch

from models import create_model
from models.aggregate import kernels
from models.mixers import names


@pytest.mark.faults
@pytest.mark.parametrize("choice", ["plain", "native"])
@pytest.mark.parametrize("mixer", names())
def test_no_graph_breaks(mixer, choice):
    torch._dynamo.reset()
    model = create_model(f"{mixer}_micro", num_classes=3)
    with kernels(choice):
        told = torch._dynamo.explain(model)(torch.randn(2, 3, 64, 64))
    assert told.graph_count == 1, told.break_reasons
