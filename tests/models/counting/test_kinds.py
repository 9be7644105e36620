"""Blocks that are alike are counted once and added: the same numbers as running each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from models import create_model, list_models
from models.counting import macs
from models.counting.macs import RULES, count_by_each_rule
from models.network.backbone import Stage


@contextmanager
def every_block(*_: Any) -> Iterator[None]:
    """Run each block, whatever it is like."""
    yield


def blocks(model: nn.Module) -> list[nn.Module]:
    return [
        block for stage in model.modules() if isinstance(stage, Stage) for block in stage.blocks
    ]


@pytest.mark.parametrize("name", [name for name in list_models() if name.endswith("_tiny")])
def test_counts_are_those_of_running_every_block(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=10, image_size=224)
    once = count_by_each_rule(model, 224)
    assert not [block for block in blocks(model) if "forward" in vars(block)]

    monkeypatch.setattr(macs, "_each_kind_once", every_block)
    assert once == count_by_each_rule(model, 224)
    assert set(once) == set(RULES)


@pytest.mark.parametrize("change", ["width", "attribute"])
def test_a_block_that_differs_is_counted_for_itself(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        model = create_model("dwnet_tiny", num_classes=10, image_size=224)
        third = model.get_submodule("backbone.stages.2.blocks.3")
        before = count_by_each_rule(model, 224)
        if change == "width":
            narrow = nn.Sequential(nn.Linear(384, 7), nn.Linear(7, 384))
            monkeypatch.setattr(third, "mlp", narrow)
        else:
            monkeypatch.setattr(third, "norm_macs", lambda x: 5 * x.numel())
            monkeypatch.setattr(third, "pad_to", 16)
    once = count_by_each_rule(model, 224)
    assert once != before
    monkeypatch.setattr(macs, "_each_kind_once", every_block)
    assert once == count_by_each_rule(model, 224)
