"""Accuracy, ImageNet-Real's included, is a sum over samples: the same on any number of ranks."""

import json
from base64 import b64decode
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_project, run_stage

from pipeline.loading.micro_batches import EvalSamples, Ranks, eval_loader
from pipeline.params import load
from pipeline.shards import Manifest, ShardReader
from pipeline.tasks.base import create
from pipeline.tasks.classify.accuracy import MOST_CONFUSED, Accuracy
from pipeline.training.evaluate import evaluate

LOGITS = torch.eye(6)[[0, 1, 2, 3, 4]]  # image i is taken for class i
LABELS = torch.tensor([0, 1, 0, 0, 0])
NAMES = [f"n{label}" for label in range(6)]
REAL = [[0, 5], [2, 3], [], [1, 3], [5]]


def sums(rows: list[int], real: bool = True) -> Any:
    accuracy = Accuracy(NAMES)
    for row in rows:
        batch = {"labels": LABELS[row : row + 1], **({"real": REAL[row : row + 1]} if real else {})}
        accuracy.update(LOGITS[row : row + 1], batch)
    return accuracy.state()


def test_a_prediction_counts_that_is_among_the_labels() -> None:
    whole = Accuracy(NAMES)
    whole.update(LOGITS, {"labels": LABELS, "real": REAL})
    found = whole.result([whole.state()]).metrics
    assert found["real_top1"] == 50.0  # of four images with labels, the first and the fourth
    assert found["top1"] == 40.0
    over_ranks = [sums([0, 3]), sums([1, 2, 4]), sums([])]
    joined = sum(found for found, _ in over_ranks)
    assert torch.equal(joined[[0, 1, 2, 4, 5]], whole.state()[0][[0, 1, 2, 4, 5]])
    assert Accuracy(NAMES).result(over_ranks).metrics["real_top1"] == 50.0


def test_which_images_are_right_is_kept_in_the_order_of_the_split() -> None:
    """Batch after batch goes to the next rank, and comes back to its place."""
    found = Accuracy(NAMES).result([sums([0, 3]), sums([1, 4]), sums([2])]).correct
    assert found is not None and found["images"] == 5
    bits = np.unpackbits(np.frombuffer(b64decode(found["bits"]), np.uint8), count=5)
    assert bits.tolist() == [1, 1, 0, 0, 0]


def test_what_is_taken_for_what_is_counted_over_all_ranks() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 5, 400)  # class 5 is never there
    guesses = np.where(draw.random(400) < 0.6, labels, draw.integers(0, 6, 400))
    logits = torch.eye(6)[torch.from_numpy(guesses)]
    ranks = [Accuracy(NAMES) for _ in range(3)]
    for place, start in enumerate(range(0, 400, 50)):
        batch = {"labels": torch.from_numpy(labels[start : start + 50])}
        ranks[place % 3].update(logits[start : start + 50], batch)
    found = ranks[0].result([rank.state() for rank in ranks])

    expected = Counter(zip(labels.tolist(), guesses.tolist(), strict=True))
    confused = {(row["label"], row["guess"]): row["images"] for row in found.confused}
    assert confused == {
        (f"n{label}", f"n{guess}"): images
        for (label, guess), images in expected.items()
        if label != guess
    }
    counts = [row["images"] for row in found.confused]
    assert counts == sorted(counts, reverse=True)
    assert found.per_class == {
        f"n{label}": {"top1": pytest.approx(100 * expected[label, label] / (labels == label).sum())}
        for label in range(5)
    }


def test_of_many_classes_the_most_frequent_pairs_are_kept() -> None:
    names = ["same"] * 40
    accuracy = Accuracy(names)
    labels = torch.arange(40).repeat_interleave(39)
    guesses = torch.cat([torch.tensor([g for g in range(40) if g != at]) for at in range(40)])
    guesses[:39] = 7
    accuracy.update(torch.eye(40)[guesses], {"labels": labels})
    found = accuracy.result([accuracy.state()])
    assert len(found.confused) == MOST_CONFUSED
    assert found.confused[0] == {"label": "same (class 0)", "guess": "same (class 7)", "images": 39}
    assert len(found.per_class) == 40


def test_without_reassessed_labels_nothing_is_said_of_them() -> None:
    assert set(Accuracy(NAMES).result([sums([0, 1], real=False)]).metrics) == {
        "top1",
        "top5",
        "loss",
    }


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
    states = []
    guesses: dict[str, int] = {}
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
