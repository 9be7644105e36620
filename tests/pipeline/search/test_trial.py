"""A trial that cannot be judged any more fails by a sentence, instead of ending the search."""

from pathlib import Path

import torch

from pipeline.params import Cluster
from pipeline.runs.run import Run
from pipeline.search.trial import TrialWork, TuneTrial
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


def test_a_metric_that_is_not_finite_ends_its_trial(small_shards: Path, tmp_path: Path) -> None:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    run = Run("id", "classify", "v", 1, SECTION, small_shards, tmp_path / "run")
    trial = TuneTrial.__new__(TuneTrial)
    trial.setup({"run_id": "id"}, TrialWork({"id": run}, Cluster(workers=1), 0, "loss"))
    try:
        word = trial.step()
        trial.cleanup()
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.backends.cudnn.benchmark = False
    assert word == {
        "run_id": "id",
        "done": True,
        "failed": "loss is not finite at step 4; lower optimizer.lr",
    }
    assert run.finished() is None
