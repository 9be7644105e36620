"""What a run would cost, before anything runs: `python -m pipeline.plan`, as a table, with `--json`
as JSON, with `--rows` beside each row of the paper.

Stages, images, optimizer steps, disk, the time of GPUs or CPU cores, and money where
`plan.price_per_gpu_hour` is set. Nothing is written and nothing is started.
"""

import json

from pipeline.planning.advice import advice
from pipeline.planning.estimate import plan
from pipeline.planning.rows import as_markdown, expected_rows
from pipeline.planning.table import as_json, as_text
from pipeline.project import cli


def main() -> None:
    """Print the plan."""
    parser = cli.parser(
        "What a run would cost, before anything runs.",
        "python -m pipeline.plan --params params/paper.yaml",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shape.add_argument(
        "--rows",
        action="store_true",
        help="print each row of the paper with its command, number and cost, as Markdown",
    )
    call = cli.call(parser.parse_args())

    estimate = plan(call)
    if call.args.rows:
        print(as_markdown(expected_rows(call, estimate)), end="")
        return

    sentences = list(advice(call, estimate))
    print(
        json.dumps(as_json(estimate, sentences), indent=2)
        if call.args.json
        else as_text(estimate, sentences),
        end="",
    )


if __name__ == "__main__":
    cli.main(main)
