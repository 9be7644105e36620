"""What a finished run becomes under results/<task>/<variant>/: metrics, curves, weights, a
picture.
"""

import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.files import whole_folder, write_json, write_text
from pipeline.core.progress import say
from pipeline.project.call import Call
from pipeline.project.git import commit
from pipeline.runs.card import card
from pipeline.runs.description import describe
from pipeline.runs.results.files import publish_json, publish_table
from pipeline.runs.results.training import (
    HISTORY,
    ClassLine,
    ConfusedLine,
    HistoryLine,
    Metrics,
    PredictionsFile,
)
from pipeline.runs.run import Run, config_of, mlflow_run_of
from pipeline.runs.weights import publish_weights
from pipeline.shards.manifest import Manifest


def publish(call: Call, runs: list[Run]) -> None:
    """Write results/<task>/<variant>/ from the finished runs of a variant, one a seed; whole or not
    at all.

    Raises:
        UserError: a run is not finished.
    """
    variant = runs[0].variant
    records = [_record(run) for run in runs]

    with whole_folder(call.folders.results(runs[0].task, variant)) as folder:
        metrics = publish_json(folder / "metrics.json", Metrics, _metrics(call, runs, records))
        publish_history(folder / "history.csv", records)
        if any(record["per_class"] for record in records):
            _publish_classes(folder / "per_class.csv", records)
        if any(record.get("confused") for record in records):
            _publish_confused(folder / "confused.csv", records)
        if all(record.get("right") for record in records):
            publish_json(
                folder / "predictions.json", PredictionsFile, _predictions(metrics, records)
            )

        description = describe(runs[0], _class_names(runs[0]), metrics)
        write_json(folder / "config.json", description)
        write_text(folder / "README.md", card(description, metrics, _home(call, runs[0])))
        publish_weights(
            runs[0].folder / "last.safetensors", folder / "model.safetensors", description
        )
        shutil.copyfile(runs[0].folder / "samples.png", folder / "samples.png")
        failpoints.reach("results.written", variant=variant)

    _say_results(variant, records)


def _say_results(variant: str, records: list[dict[str, Any]]) -> None:
    """Print what each seed came to, and their mean."""
    metric = records[0]["main_metric"]
    finals = [record["final"][metric] for record in records]

    for record, final in zip(records, finals, strict=True):
        skipped = record.get("skipped_steps", 0)
        passed = f"; {skipped} steps passed over, not finite" if skipped else ""
        say(f"{variant}: {metric} {final:.1f} at the end (seed {record['seed']}){passed}")

    if len(finals) > 1:
        say(f"{variant}: {metric} {fmean(finals):.1f} in the mean over {len(finals)} seeds")


def _home(call: Call, run: Run) -> str:
    """Return the folder of a run's results, from the project where it lies in it."""
    folder = call.folders.results(run.task, run.variant)
    inside = folder.is_relative_to(call.project)
    return (folder.relative_to(call.project) if inside else folder).as_posix()


def _class_names(run: Run) -> list[str]:
    return [entry.name for entry in Manifest.load(run.shards).classes]


def _record(run: Run) -> dict[str, Any]:
    """Return a finished run's record with the id of its MLflow run."""
    record = run.finished()
    if record is None:
        raise UserError(f"{run.label} did not finish; run the command again to continue")
    return {**record, "mlflow_run_id": mlflow_run_of(run)}


def _metrics(call: Call, runs: list[Run], records: list[dict[str, Any]]) -> dict[str, Any]:
    first = records[0]
    head, dirty = commit(call.project)
    copied = (
        "main_metric",
        "parameters",
        "world_size",
        "device",
        "final",
        "best",
        "train_images_per_second",
    )

    return {
        **{name: value for name, value in config_of(runs[0]).items() if name != "seed"},
        **{name: first[name] for name in copied},
        "macs": first.get("macs"),
        "task": runs[0].task,
        "wall_time_s": round(sum(record["wall_time_s"] for record in records), 1),
        "commit": head,
        "dirty": dirty,
        "data": data_facts(call, runs[0]),
        "seeds": [_seed_row(record) for record in records],
    }


def data_facts(call: Call, run: Run) -> dict[str, Any]:
    """Return what a run was trained and judged on."""
    manifest = Manifest.load(run.shards)
    dataset = run.section.dataset
    return {
        "dataset": dataset,
        "source": getattr(call.params.data, dataset).origin,
        "manifest": manifest.digest,
        "train_samples": manifest.splits["train"].samples,
        "val_samples": manifest.splits["val"].samples,
        "classes": len(manifest.classes),
        "evaluated_on": run.recipe.evaluate_on,
    }


def _seed_row(record: dict[str, Any]) -> dict[str, Any]:
    """Return what stands once for each seed; that it continued another checkpoint or passed over
    steps where it did.
    """
    columns = (
        "seed",
        "run_id",
        "mlflow_run_id",
        "final",
        "best",
        "train_images_per_second",
        "wall_time_s",
    )
    adopted = {"adopted": record["adopted"]} if record["adopted"] else {}
    skipped = {"skipped_steps": record["skipped_steps"]} if record.get("skipped_steps") else {}

    return {**{name: record[name] for name in columns}, **skipped, **adopted}


def publish_history(path: Path, records: list[dict[str, Any]]) -> None:
    """Write every evaluation, a row per seed and evaluation."""
    rows = [{"seed": record["seed"], **row} for record in records for row in record["history"]]
    metrics = sorted({name for row in rows for name in row} - set(HISTORY))
    publish_table(path, HistoryLine, [*HISTORY, *metrics], rows)


def _predictions(metrics: Metrics, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return which images each seed had right at its last evaluation."""
    data = metrics.data
    return {
        "metric": metrics.main_metric,
        "manifest": data.manifest,
        "evaluated_on": data.evaluated_on,
        "seeds": [{"seed": record["seed"], **record["right"]} for record in records],
    }


def _publish_confused(path: Path, records: list[dict[str, Any]]) -> None:
    """Write what was taken for what at the end, a row per seed and pair of classes."""
    rows = [
        {"seed": record["seed"], **pair}
        for record in records
        for pair in record.get("confused", [])
    ]
    publish_table(path, ConfusedLine, ["seed", "label", "guess", "images"], rows)


def _publish_classes(path: Path, records: list[dict[str, Any]]) -> None:
    """Write the metrics of single classes at the end, a row per seed and class; empty where one is
    not defined.
    """
    metrics = sorted(
        {name for record in records for row in record["per_class"].values() for name in row}
    )
    rows = [
        {"seed": record["seed"], "class": name, **row}
        for record in records
        for name, row in record["per_class"].items()
    ]

    publish_table(path, ClassLine, ["seed", "class", *metrics], rows)
