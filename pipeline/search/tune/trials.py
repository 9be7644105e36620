"""The trials of a search: every setting with every seed."""

from pathlib import Path

from pipeline.params.searches import Asha, Tune
from pipeline.project.call import Call
from pipeline.search.search import Search, Trial, runs_of_setting
from pipeline.search.settings import Setting


def search_of(call: Call, settings: list[Setting], shards: Path) -> Search:
    """Return the trials: every setting with every seed."""
    tune = call.params.tune
    trials = [
        Trial(run, setting.values)
        for setting in settings
        for run in runs_of_setting(call, tune.task, setting, tune.seeds, shards)
    ]

    description = {
        "metric": tune.judged_by,
        "searcher": tune.searcher,
        "scheduler": tune.scheduler,
        "hold_out": tune.hold_out,
    }

    label = f"search of {' x '.join(tune.space)}"
    return Search(
        command="tune",
        label=label,
        trials=trials,
        metric=tune.judged_by,
        mode=tune.mode,
        workers=tune.workers,
        concurrent=tune.concurrent,
        asha=halving(tune),
        description=description,
    )


def halving(tune: Tune) -> Asha | None:
    """Return the rungs at which trials stop early, None where all go to their end."""
    return tune.asha if tune.scheduler == "asha" else None
