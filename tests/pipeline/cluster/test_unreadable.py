"""What one rank alone cannot read ends the worker group; what is wrong for all ranks ends one
run.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.cluster import workers
from pipeline.core.errors import Unreadable, UserError
from pipeline.runs.run import Run
from pipeline.tasks.classify.recipe import Classify
from pipeline.training import loop


def work(monkeypatch: pytest.MonkeyPatch, error: Exception) -> dict[str, str]:
    def fail(*_: object, **__: object) -> None:
        raise error

    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("ray.train.get_context", lambda: context)
    monkeypatch.setattr(loop, "evaluations", fail)
    run = Run("id", "classify", "v", 1, Classify(), Path("/nowhere"), Path("/nowhere"))
    return workers._work(
        {"runs": [run], "threads": 1, "faults": None, "should_continue": None, "group": None}
    )


def test_only_what_all_ranks_see_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        assert work(monkeypatch, UserError("the loss is infinite")) == {
            "id": "the loss is infinite"
        }
        with pytest.raises(Unreadable, match="shard"):
            work(monkeypatch, Unreadable("a shard"))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.backends.cudnn.benchmark = False
