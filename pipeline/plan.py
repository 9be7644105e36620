"""What a run would cost, before anything runs: `python -m pipeline.plan`, as a table, with `--json`
as JSON.

Stages, images, optimizer steps, disk, and the time of GPUs or CPU cores. Nothing is written and
nothing is started.
"""

import json

from pipeline.planning.advice import advice
from pipeline.planning.estimate import plan
from pipeline.planning.table import as_json, as_text
from pipeline.project import cli


def main() -> None:
    """Print the plan."""
    parser = cli.parser(
        "What a run would cost, before anything runs.",
        "python -m pipeline.plan --params params/paper.yaml",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    call = cli.call(parser.parse_args())
    made = plan(call)
    sentences = list(advice(call, made))
    print(
        json.dumps(as_json(made, sentences), indent=2)
        if call.args.json
        else as_text(made, sentences),
        end="",
    )


if __name__ == "__main__":
    cli.main(main)
