"""Evaluate given weights: `python -m pipeline.evaluate classify dwnet_tiny --weights
model.safetensors`.

For detection `--predictions FILE` writes the detections in COCO's results format.
Runs in this process on its device, over the whole validation split.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError, nearest
from pipeline.core.files import finite
from pipeline.params import TASKS
from pipeline.params.recipes import IMAGE_SIZE
from pipeline.params.registry import classifier, member, tasks
from pipeline.project import cli
from pipeline.project.call import Call
from pipeline.runs.make import refuse_empty
from pipeline.runs.weights import load_into, read_weights
from pipeline.shards.manifest import Manifest
from pipeline.shards.remote.cache import ShardCache

if TYPE_CHECKING:
    pass


def main() -> None:
    """Print the metrics of a variant with given weights as JSON."""
    parser = cli.parser(
        "Evaluate weights on the validation split.",
        "python -m pipeline.evaluate classify dwnet_tiny --weights FILE",
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("variant", help="an entry of the task's variants")
    parser.add_argument(
        "--weights", required=True, type=Path, help="published weights, or the authors' checkpoint"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="detect: write COCO's results format, JSON"
    )
    call = cli.call(parser.parse_args())

    if call.args.predictions and not tasks()[call.args.task].results_writer:
        having = " or ".join(name for name, about in tasks().items() if about.results_writer)
        raise UserError(
            f"--predictions is for {having}; {call.args.task} has no format of its own for them"
        )

    section = getattr(call.params, call.args.task)
    if call.args.variant not in section.variants:
        hint = nearest(call.args.variant, section.variants)
        raise UserError(f"{call.args.task} has no variant '{call.args.variant}'; {hint}")
    print(json.dumps(finite(_metrics(call, section)), indent=2, allow_nan=False))


def _metrics(call: Call, section: Any) -> dict[str, float]:
    import torch

    from pipeline.loading.hold_out import open_split
    from pipeline.loading.micro_batches import EvalSamples, Ranks, eval_loader
    from pipeline.tasks.base import create
    from pipeline.training.evaluate import collect

    variant = call.args.variant
    shards = call.shards(section.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = section.recipe_of(variant)
    refuse_empty(call, shards, [recipe.evaluate_on])

    manifest = Manifest.load(shards)
    logic = create(call.args.task, section, variant, manifest)
    model = logic.build()
    size = recipe.network_size or IMAGE_SIZE
    dense = None if call.args.task == classifier() else model
    load_into(
        model,
        read_weights(call.args.weights, section.variants[variant], size, dense),
        call.args.weights,
    )

    cache = ShardCache.of(call.params.cluster, shards)
    reader = open_split(shards, recipe.evaluate_on, recipe.hold_out, cache)
    samples = EvalSamples(reader, logic.sampling, logic.eval_batch)
    batches = eval_loader(samples, Ranks(), call.params.cluster.loader_workers)
    state = (evaluator := collect(logic, model.to(device), batches, recipe, device)).state()

    if call.args.predictions:
        write_results = member(tasks()[call.args.task].results_writer or "")
        write_results(call.args.predictions, [state], manifest.classes)

    return evaluator.result([state]).metrics


if __name__ == "__main__":
    cli.main(main)
