"""Train a task's variant and publish the result: `python -m pipeline.train classify dwnet_micro`.

A run that is finished already is published again without training, and without starting Ray.
"""

from pipeline.cluster.training import train
from pipeline.core.errors import UserError, nearest
from pipeline.params import TASKS
from pipeline.project import cli
from pipeline.runs.make import section_of
from pipeline.submission.inside import keep_results, refuse_unkept
from pipeline.submission.run import run_as_job
from pipeline.submission.stage import training


def main() -> None:
    """Read the command line, train what is not trained, publish."""
    parser = cli.parser(
        "Train a task's variant on all its seeds and publish the result.",
        "python -m pipeline.train classify dwnet_micro",
    )
    parser.add_argument(
        "task", help=f"{', '.join(TASKS)}; or a stage of DVC, as in classify@dwnet_micro"
    )
    parser.add_argument(
        "variants",
        nargs="*",
        metavar="variant",
        help="entries of the task's variants in params.yaml",
    )
    parser.add_argument(
        "--adopt", metavar="ID", help="continue run ID, whose code was mended since, and say so"
    )

    args = parser.parse_args()
    args.task, *first = cli.words_of(args.task)
    args.variants = [*first, *args.variants]
    call = cli.call(args)

    task = call.args.task
    section = section_of(call, call.args.task)
    if not args.variants:
        raise UserError(
            f"which variant of {task} is missing; known: {', '.join(section.variants) or 'none'}"
        )
    for variant in call.args.variants:
        if variant not in section.variants:
            raise UserError(
                f"{task}.variants has no '{variant}'; {nearest(variant, section.variants)}"
            )

    call.args.variants = list(dict.fromkeys(call.args.variants))
    refuse_unkept(call, section.dataset)
    shards = call.shards(section.dataset)

    if (stage := training(call, shards)) is not None:
        run_as_job(call, stage)
        return
    with call.alone(task, *call.args.variants):
        train(call, shards)
    keep_results(call, *(f"{task}/{variant}" for variant in call.args.variants))


if __name__ == "__main__":
    cli.main(main)
