"""How small a training batch may be, and batch norms that keep their statistics."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from models import create_model
from models.heads import freeze_batchnorm_statistics, smallest_batch


def trains(model, batch, side=64):
    """Whether a batch goes through in training mode."""
    try:
        getattr(model.train(), "fixed_work", model)(torch.randn(batch, 3, side, side))
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        return False
    return True


@pytest.mark.parametrize(
    ("name", "kind", "least"),
    [
        ("dwnet_micro", "detector", 1),
        ("swin_micro", "detector", 1),
        ("dynamic_dwnet_micro", "detector", 2),
        ("i_dynamic_dwnet_micro", "detector", 1),
        ("dwnet_micro", "segmenter", 2),
        ("dynamic_dwnet_micro", "classifier", 2),
        ("timm:resnet10t", "classifier", 1),
    ],
)
def test_the_smallest_batch_is_the_smallest_that_trains(request, name, kind, least):
    model = create_model(name, 3) if kind == "classifier" else request.getfixturevalue(kind)(name)
    before, state = deepcopy(model.state_dict()), torch.get_rng_state()
    found, why = smallest_batch(model, (64, 64))
    assert found == least and "batch norm" in why
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [trains(model, batch) for batch in (1, 2)] == [least == 1, True]


def test_the_reason_names_a_module_and_the_size_is_that_of_the_images(segmenter):
    assert "head.pooling.grids.0" in smallest_batch(segmenter())[1]
    model = create_model("dwnet_micro", 3)
    assert smallest_batch(model)[0] == 1
    found, why = smallest_batch(model, (32, 32))
    assert found == 2 and "backbone.stages.3" in why and not trains(model, 1, side=32)


def statistics(model):
    return {
        name: buffer.clone()
        for name, buffer in model.named_buffers()
        if "running" in name or "tracked" in name
    }


@pytest.mark.parametrize("name", ["dynamic_dwnet_micro", "timm:resnet10t"])
def test_frozen_statistics_are_used_and_kept_while_the_rest_trains(name):
    model = create_model(name, 3)
    model(torch.randn(4, 3, 64, 64))
    keys = list(model.state_dict())
    freeze_batchnorm_statistics(model)
    freeze_batchnorm_statistics(model)
    assert list(model.state_dict()) == keys
    before, images = statistics(model), torch.randn(1, 3, 64, 64)
    # A copy stands for what wrappers do; `train()` again for what an engine does before every
    # epoch.
    for network in (model, deepcopy(model)):
        network.eval()
        network.train()
        training = network(images)
        training.square().sum().backward()
        assert all(torch.equal(before[n], after) for n, after in statistics(network).items())
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms and all(m.weight.grad is not None and m.weight.requires_grad for m in norms)
        torch.testing.assert_close(network.eval()(images), training)
    assert smallest_batch(model, (64, 64))[0] == 1
