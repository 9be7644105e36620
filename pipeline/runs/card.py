"""The model card: what published weights are, how good, how they are used and were made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.params.registry import Metric, tasks
from pipeline.runs.results.fields import MetricValues
from pipeline.runs.results.training import Metrics

TEMPLATE = Path(__file__).parent / "card.md.j2"
KINDS = {
    "classifier": "image-classification",
    "detector": "object-detection",
    "segmenter": "image-segmentation",
}
"""Networks, as the hub calls what they do."""
EXAMPLES = {
    "classifier": """\
chances = model(image[None]).softmax(dim=1)[0]
print(f"{model.classes[chances.argmax()]} {chances.max():.1%}")""",
    "detector": """\
images, sizes = model.transform.stack([image])
found = model(images, sizes)[0]  # the surest first; boxes in pixels of `images`
for label, score, box in zip(found["labels"], found["scores"], found["boxes"]):
    print(f"{model.classes[label]} {score:.2f} at {box.tolist()}")""",
    "segmenter": """\
labels = model(image[None])[0].argmax(dim=0)  # a fourth of the image's height and width
print([model.classes[label] for label in labels.unique()])""",
}
SPLITS = {
    "val": "the validation split ({:,} images)",
    "train": "the very images that were trained on",
    "held_out": "a part of the training split that was held out",
}
START = """\
import models
from PIL import Image

model = models.load("{folder}")
image = model.transform(Image.open("photo.jpg"))
"""


def card(description: Mapping[str, Any], metrics: Metrics, folder: str) -> str:
    """Return the card in Markdown; equal input gives equal text.

    Args:
        description: what the weights say of themselves.
        metrics: what is published beside them.
        folder: where they are published.
    """
    import jinja2

    about = tasks()[metrics.task]
    network = description.get("network")
    recipe = metrics.recipe
    metric_names = [name for name in about.metrics if name in metrics.final]

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text())
    text = template.render(
        **{**description, "metrics": metrics, "network": network},
        label=about.label,
        kind=KINDS.get(str(network), "other"),
        folder=folder,
        split=SPLITS[metrics.data.evaluated_on].format(metrics.data.val_samples),
        shown=metric_names,
        labels={name: _heading(about.metrics[name]) for name in metric_names},
        cells=lambda row: _cells(row, about.metrics, metric_names),
        example=network and START.format(folder=folder) + EXAMPLES[network],
        options=", ".join(f"{key}: {value}" for key, value in description["model_args"].items()),
        batch=recipe["micro_batch"] * recipe["micro_batches"],
        lr=recipe["optimizer"]["lr"],
    )

    return text.rstrip() + "\n"


def _heading(metric: Metric) -> str:
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label


def _cells(row: MetricValues, metrics: Mapping[str, Metric], shown: list[str]) -> str:
    """Return one evaluation's numbers, as the report writes them."""
    values = ((metrics[name].decimals, row.get(name)) for name in shown)
    return " | ".join("" if value is None else f"{value:.{digits}f}" for digits, value in values)
