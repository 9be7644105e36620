"""What a run leaves on disk, against what the engine writes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import models
from pipeline.planning import disk
from pipeline.planning.work import PlannedWork
from pipeline.project.call import Call, Folders
from pipeline.runs import checkpoint
from pipeline.tasks.classify.recipe import Recipe
from pipeline.training.state import State


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_checkpoint_is_as_large_as_counted(tmp_path: Path, ema: float | None) -> None:
    model, recipe = models.create_model("dwnet_micro"), Recipe(ema=ema)
    state = State.fresh(model, recipe, torch.device("cpu"))
    model(torch.zeros(2, 3, 64, 64)).sum().backward()
    state.optimizer.step()
    for step in range(5):
        checkpoint.save(tmp_path, step, state.to_dict())
    parameters = sum(p.numel() for p in model.parameters())
    one = (disk.STATE + (ema is not None)) * disk.FLOAT * parameters
    assert (tmp_path / "000000004/state.pt").stat().st_size == pytest.approx(one, rel=0.1)
    assert (
        1 + len(list(tmp_path.iterdir())) == disk.CHECKPOINTS
    )  # the one being written is not there any more


def test_weights_of_all_runs_are_counted(call_with: Callable[..., Call], tmp_path: Path) -> None:
    call, recipe = call_with(), Recipe()
    work = PlannedWork(steps=10, images=10, evaluations=8, evaluated=8, runs=3, finished=1)
    found = disk.of_training(call, recipe, work, 1000)
    # two runs keep two files each, one is published, and DVC keeps it once more
    assert found == disk.Disk(4000 * (2 * 2 + 2), 4000 * (3 * 3 + 3))
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[cache]\n    type = hardlink,copy\n")
    assert disk.of_training(call, recipe, work, 1000) == disk.Disk(
        4000 * (2 * 2 + 1), 4000 * (3 * 3 + 3)
    )
    adhoc = Call(call.args, call.params, call.project, Folders(tmp_path / "adhoc"))
    (tmp_path / ".dvc/config").unlink()
    assert (disk.copies(call), disk.copies(adhoc)) == (2, 1)
