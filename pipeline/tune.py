"""Search the space of params.yaml: `python -m pipeline.tune`.

Every trial is the training that `python -m pipeline.train` does, judged on a part of the training
set that it does not train on. A search that was killed and is started again runs what is missing.
"""

from pipeline.project import cli
from pipeline.search.driver import run_search
from pipeline.search.publish import publish_search
from pipeline.search.settings import LeftOut
from pipeline.search.tune.space import settings_of
from pipeline.search.tune.trials import search_of
from pipeline.submission import stage as stages
from pipeline.submission.inside import keep_results, refuse_unkept
from pipeline.submission.run import run_as_job


def main() -> None:
    """Read the command line, run the trials that are missing, publish."""
    parser = cli.parser(
        "Search mixers, kernel sizes and sharing groups, or any other parameter.",
        "python -m pipeline.tune --set tune.space.kernel_size=[3,5]",
    )
    call = cli.call(parser.parse_args())

    settings, left_out = settings_of(call.params)
    dataset = settings[0].section.dataset
    refuse_unkept(call, dataset)
    search = search_of(call, settings, call.shards(dataset))

    if (stage := stages.search(call, "tune", search)) is not None:
        run_as_job(call, stage)
        return

    with call.alone("tune", "search"):
        _say(left_out)
        publish_search(call, search, settings, left_out, run_search(call, search))
    keep_results(call, "tune")


def _say(left_out: list[LeftOut]) -> None:
    """Name what cannot be run, once for each reason."""
    for reason in dict.fromkeys(combination.reason for combination in left_out):
        count = sum(combination.reason == reason for combination in left_out)
        print(f"left out, {count} setting{'' if count == 1 else 's'}: {reason}", flush=True)


if __name__ == "__main__":
    cli.main(main)
