"""Search the space of params.yaml: `python -m pipeline.tune`.

Every trial is the training that `python -m pipeline.train` does, judged on a part of the training set that it does not
train on. A search that was killed and is started again runs what is missing.
"""

from pathlib import Path

from pipeline import cli
from pipeline.cli import Call
from pipeline.search.driver import Search, Tried, run_search, runs_of
from pipeline.search.publish import publish_search
from pipeline.search.settings import LeftOut, Setting
from pipeline.search.space import settings_of


def main() -> None:
    """Read the command line, run the trials that are missing, publish."""
    call = cli.call(cli.parser("Search mixers, kernel sizes and sharing groups, or any other parameter.").parse_args())
    settings, left_out = settings_of(call.params)
    with call.alone("tune", "search"):
        shards = call.shards(settings[0].section.dataset)
        search = search_of(call, settings, shards)
        _say(left_out)
        publish_search(call, search, settings, left_out, run_search(call, search))


def search_of(call: Call, settings: list[Setting], shards: Path) -> Search:
    """Return the trials: every setting with every seed."""
    tune = call.params.tune
    tried = [
        Tried(run, setting.values)
        for setting in settings
        for run in runs_of(call, tune.task, setting, tune.seeds, shards)
    ]
    asha = tune.asha if tune.scheduler == "asha" else None
    shown = {
        "metric": tune.judged_by,
        "searcher": tune.searcher,
        "scheduler": tune.scheduler,
        "hold_out": tune.hold_out,
    }
    label = f"search of {' x '.join(tune.space)}"
    return Search("tune", label, tried, tune.judged_by, tune.mode, tune.workers, tune.concurrent, asha, shown)


def _say(left_out: list[LeftOut]) -> None:
    """Name what cannot be run, once for each reason."""
    for reason in dict.fromkeys(one.reason for one in left_out):
        count = sum(one.reason == reason for one in left_out)
        print(f"left out, {count} setting{'' if count == 1 else 's'}: {reason}", flush=True)


if __name__ == "__main__":
    cli.main(main)
