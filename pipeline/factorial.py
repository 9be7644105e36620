"""Train the factorial design of params.yaml: `python -m pipeline.factorial`.

Sharing over positions x channels that share a weight x dynamic weights, in one skeleton with paired
seeds, controls of equal size and contrasts beside it. Each run trains on the whole training set and
is judged on `val`; a design that was killed and is started again runs what is missing.
"""

from pipeline.project import cli
from pipeline.search.driver import run_search
from pipeline.search.factorial.design import designs_of
from pipeline.search.factorial.publish import publish_factorial
from pipeline.search.factorial.trials import search_of
from pipeline.submission import stage as stages
from pipeline.submission.inside import keep_results, refuse_unkept
from pipeline.submission.run import run_as_job


def main() -> None:
    """Read the command line, run what is missing, publish."""
    parser = cli.parser(
        "Train the factorial: three factors crossed in one skeleton, and contrasts.",
        "python -m pipeline.factorial",
    )
    call = cli.call(parser.parse_args())

    budgets = designs_of(call.params)
    dataset = next(iter(budgets.values())).settings[0].section.dataset
    refuse_unkept(call, dataset)
    search = search_of(call, budgets, call.shards(dataset))

    if (stage := stages.search(call, "factorial", search)) is not None:
        run_as_job(call, stage)
        return

    with call.alone("factorial", "design"):
        for name, reason in {
            name: why for design in budgets.values() for name, why in design.left_out.items()
        }.items():
            print(f"left out, {name}: {reason}", flush=True)
        publish_factorial(call, search, budgets, run_search(call, search))
    keep_results(call, "factorial")


if __name__ == "__main__":
    cli.main(main)
