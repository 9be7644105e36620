"""Accuracy, ImageNet-Real's included, is a sum over samples: the same on any number of ranks."""

import json
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_project, run_stage

from pipeline.loading.micro_batches import EvalSamples, Ranks, eval_loader
from pipeline.params import load
from pipeline.shards import Manifest, ShardReader
from pipeline.tasks.base import create
from pipeline.tasks.classify.accuracy import Accuracy
from pipeline.training.evaluate import evaluate

LOGITS = torch.eye(6)[[0, 1, 2, 3, 4]]  # image i is taken for class i
LABELS = torch.tensor([0, 1, 0, 0, 0])
REAL = [[0, 5], [2, 3], [], [1, 3], [5]]


def sums(rows: list[int], real: bool = True) -> Any:
    accuracy = Accuracy()
    for row in rows:
        batch = {"labels": LABELS[row : row + 1], **({"real": REAL[row : row + 1]} if real else {})}
        accuracy.update(LOGITS[row : row + 1], batch)
    return accuracy.state()


def test_a_prediction_counts_that_is_among_the_labels() -> None:
    whole = Accuracy()
    whole.update(LOGITS, {"labels": LABELS, "real": REAL})
    found = whole.result([whole.state()]).metrics
    assert found["real_top1"] == 50.0  # of four images with labels, the first and the fourth
    assert found["top1"] == 40.0
    over_ranks = [sums([0, 3]), sums([1, 2, 4]), sums([])]
    joined = sum(found for found, _ in over_ranks)
    assert torch.equal(joined[[0, 1, 2, 4, 5]], whole.state()[0][[0, 1, 2, 4, 5]])
    assert Accuracy().result(over_ranks).metrics["real_top1"] == 50.0


def test_which_images_are_right_is_kept_in_the_order_of_the_split() -> None:
    """Batch after batch goes to the next rank, and comes back to its place."""
    found = Accuracy().result([sums([0, 3]), sums([1, 4]), sums([2])]).correct
    assert found is not None and found["images"] == 5
    bits = np.unpackbits(np.frombuffer(b64decode(found["bits"]), np.uint8), count=5)
    assert bits.tolist() == [1, 1, 0, 0, 0]


def test_without_reassessed_labels_nothing_is_said_of_them() -> None:
    assert set(Accuracy().result([sums([0, 1], real=False)]).metrics) == {"top1", "top5", "loss"}


@pytest.mark.parametrize("world", [1, 3])
def test_evaluation_on_shards_with_reassessed_labels(
    ray_cluster: None, tmp_path_factory: pytest.TempPathFactory, world: int
) -> None:
    project = tmp_path_factory.getbasetemp() / "real labels"
    entries = [[i % 10, 3] if i % 4 else [] for i in range(37)]
    if not project.exists():
        make_project(project)
        (project / "real.json").write_text(json.dumps(entries))
        text = (project / "params.yaml").read_text()
        (project / "params.yaml").write_text(
            text.replace("{imagenet: {", "{imagenet: {real_labels: real.json, ")
        )
        run_stage(project, "pipeline.fetch", "imagenet")
        run_stage(project, "pipeline.shard", "imagenet")
    shards = project / "data" / "shards" / "imagenet"
    section = load(project / "params.yaml").classify
    recipe = section.recipe_of("dwnet_micro")
    logic = create("classify", section, "dwnet_micro", Manifest.load(shards))
    torch.manual_seed(0)
    model = logic.build().eval()
    samples = EvalSamples(ShardReader(shards, "val"), logic.sampling, recipe.micro_batch)
    states, guesses = [], {}
    for rank in range(world):
        evaluator = logic.evaluator()
        for batch in eval_loader(samples, Ranks(rank, world), 0):
            prepared = logic.prepare(batch, torch.device("cpu"))
            with torch.inference_mode():
                outputs = logic.predict(model, prepared)
            evaluator.update(outputs, prepared)
            guesses |= dict(zip(batch["keys"], outputs.argmax(1).tolist(), strict=True))
        states.append(evaluator.state())
    labelled = {
        f"ILSVRC2012_val_{i:08d}": set(entry) for i, entry in enumerate(entries, 1) if entry
    }
    right = sum(guesses[key] in real for key, real in labelled.items())
    assert 0 < right < len(labelled) == 27
    assert logic.evaluator().result(states).metrics["real_top1"] == pytest.approx(100 * right / 27)
    if world == 1:
        loader = eval_loader(samples, Ranks(), 0)
        found = evaluate(logic, model, loader, recipe, Ranks(), torch.device("cpu"))
        assert found.metrics["real_top1"] == pytest.approx(100 * right / 27)
