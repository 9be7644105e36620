"""A trial: it fails by a sentence instead of ending the search, and is as long as was said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.params import Cluster
from pipeline.runs.run import Run
from pipeline.search.search import total_in
from pipeline.search.trial import InProcess, TrialWork, TuneTrial
from pipeline.tasks.classify.recipe import Classify

SECTION = Classify.model_validate(
    {
        "recipe": {
            "duration": {"steps": 8},
            "evaluate_every": {"steps": 4},
            "image_size": 32,
            "eval_resize": 32,
            "micro_batch": 8,
            "micro_batches": 2,
            "augment": {"rand_augment": None, "erasing": 0.0},
            "optimizer": {"lr": 1e30, "lr_batch": None},
            "schedule": {"warmup": {"steps": 1}},
            "on_non_finite": "skip",
        },
        "variants": {"v": {"mixer": "dwnet", "size": "micro"}},
    }
)


@pytest.fixture(autouse=True)
def settings_of_torch() -> Iterator[None]:
    """Take back what a trial sets for its own process."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)
    torch.backends.cudnn.benchmark = False


@pytest.mark.parametrize("duration", [{"steps": 3}, {"epochs": 0.2}, {"epochs": 0.04}])
def test_a_trial_is_as_long_as_its_last_evaluation_says(
    small_shards: Path, tmp_path: Path, duration: dict[str, Any]
) -> None:
    recipe = {"duration": duration, "evaluate_every": {"steps": 9}, "optimizer": {"lr": 1e-3}}
    tree = SECTION.model_dump(mode="json", exclude_unset=True)
    section = Classify.model_validate({**tree, "recipe": {**tree["recipe"], **recipe}})
    run = Run("id", "classify", "v", 1, section, small_shards, tmp_path / "run")
    executor = InProcess(run, TrialWork({"id": run}, Cluster(workers=1), 0, "top1"))
    rows = [*iter(executor.next, None)]
    executor.stop()
    assert rows[-1]["step"] == total_in(run, "step")
    assert rows[-1]["epoch"] == pytest.approx(total_in(run, "epoch"))


def test_a_metric_that_is_not_finite_ends_its_trial(small_shards: Path, tmp_path: Path) -> None:
    run = Run("id", "classify", "v", 1, SECTION, small_shards, tmp_path / "run")
    trial = TuneTrial.__new__(TuneTrial)
    trial.setup({"run_id": "id"}, TrialWork({"id": run}, Cluster(workers=1), 0, "loss"))
    word = trial.step()
    trial.cleanup()
    assert word == {
        "run_id": "id",
        "done": True,
        "failed": "loss is not finite at step 4; lower optimizer.lr",
    }
    assert run.finished() is None
