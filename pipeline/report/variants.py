"""What was trained and profiled, as tables: a line per variant, and a line per seed."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from pipeline.params.registry import classifier, tasks
from pipeline.project.call import repro
from pipeline.report import numbers
from pipeline.report.claims import TASK_NAMES, TASKS
from pipeline.report.document import Block, Folded, Heading, Paragraph, Table, code, plain
from pipeline.report.results import Results, VariantResult
from pipeline.report.statistics import summarise
from pipeline.report.tracked import Tracked
from pipeline.report.verdict import best_value, measured_value
from pipeline.runs.results import Metrics, ProfileFile

COSTS = [
    "MACs, G",
    "parameters at 1,000 classes, M",
    "MACs at 1,000 classes, G",
    "inference, images/s",
    "memory, MB",
]
"""What a classifier costs: MACs with the classes of its data, then what its profile says."""


def variant_tables(results: Results, folder: Path, tracked: Tracked) -> list[Block]:
    """Return the tables of all tasks; links are relative to the folder of the report."""
    blocks: list[Block] = []
    for task in TASKS:
        named = results.of(task)
        if not named:
            continue
        trained = [result for result in named if result.metrics]
        blocks.append(Heading(3, TASK_NAMES[task].capitalize()))
        blocks.append(_variant_table(task, named, folder))
        if trained:
            blocks.append(Paragraph(_run_facts(trained)))
            blocks.append(
                Folded("Every seed, with its run ids and commit", [_run_table(trained, tracked)])
            )
    return blocks or [Paragraph("params.yaml names no variant.")]


def _variant_table(task: str, results: list[VariantResult], folder: Path) -> Table:
    metric = next(
        (result.metrics.main_metric for result in results if result.metrics),
        tasks()[task].main_metric,
    )
    head = [
        "variant",
        "mixer",
        "size",
        f"{numbers.labelled(metric)}, last",
        "best",
        "parameters, M",
    ]
    costs = COSTS if task == classifier() else []
    head = [*head, *costs, "training, images/s", "seeds", "configuration"]
    rows = [_variant_row(result, metric, folder, bool(costs)) for result in results]
    return Table(head, rows, frozenset(range(3, len(head) - 1)))


def _variant_row(result: VariantResult, metric: str, folder: Path, costs: bool) -> list[str]:
    metrics, profile = result.metrics, result.profile
    measured = numbers.spread(metric, measured_value(result, metric)) if metrics else "not run"
    cost = [
        numbers.value("macs_g", metrics.macs / 1e9 if metrics and metrics.macs else None),
        numbers.value("parameters_m", profile.parameters / 1e6 if profile else None),
        numbers.value("macs_g", profile.macs / 1e9 if profile else None),
        numbers.speed(profile.inference_images_per_second if profile else None),
        numbers.speed(profile.peak_memory_mb if profile else None),
    ]
    return [
        f"`{result.name}`",
        plain(metrics.mixer if metrics else result.variant.mixer),
        plain((metrics.size if metrics else result.variant.size) or numbers.NOTHING),
        measured,
        numbers.value(metric, best_value(result, metric)),
        numbers.value("parameters_m", metrics.parameters / 1e6 if metrics else None),
        *(cost if costs else []),
        numbers.speed(
            summarise([row.train_images_per_second for row in metrics.seeds]).mean
            if metrics
            else None
        ),
        str(len(metrics.seeds)) if metrics else numbers.NOTHING,
        _link(result, folder) if metrics else f"`{repro(result.task, result.name)}`",
    ]


def _link(result: VariantResult, folder: Path) -> str:
    target = Path(os.path.relpath(result.folder / "metrics.json", folder)).as_posix()
    return f"[metrics.json]({quote(target)})"


def _run_facts(results: list[VariantResult]) -> str:
    """Return what the runs of a task were made with; profiles are said apart, for they may come
    from another machine.
    """
    trained = sorted({_training(result.metrics) for result in results if result.metrics})
    profiles = [
        result.profile for result in results if result.task == classifier() and result.profile
    ]
    timed = sorted({_timing(profile) for profile in profiles})
    told = [f"Trained on {' and on '.join(trained)}."]
    if timed:
        told.append(f"Inference and memory on {'; and on '.join(timed)}.")
        told.append("Training images/s are those of the run, loading included.")
    told += [
        f"The speed of `{profile.variant}` is in doubt: {plain(doubt)}."
        for profile in profiles
        for doubt in profile.doubts
    ]
    return " ".join(told)


def _training(metrics: Metrics) -> str:
    data = metrics.data
    kind = "synthetic" if data.synthetic else code(data.source)
    images = f"{data.train_samples:,} training and {data.val_samples:,} validation images"
    workers = f"{metrics.world_size} worker{'' if metrics.world_size == 1 else 's'}"
    return f"{kind} {plain(data.dataset)} ({images}), {workers}, {code(metrics.device)}"


def _timing(profile: ProfileFile) -> str:
    batches = f"{profile.warmup} warm-up and {profile.timed} timed batches of {profile.batch_size}"
    how = f"{plain(profile.precision)}, {plain(profile.layout)}, {profile.image_size} pixels"
    return f"{code(profile.device)} ({how}, {batches})"


def _run_table(results: list[VariantResult], tracked: Tracked) -> Table:
    rows = [
        [
            f"`{result.name}`",
            str(row.seed),
            numbers.value(metrics.main_metric, row.last[metrics.main_metric]),
            f"{row.last['epoch']:g}" if "epoch" in row.last else numbers.NOTHING,
            numbers.value(metrics.main_metric, row.peak[metrics.main_metric]),
            f"{row.peak['epoch']:g}" if "epoch" in row.peak else numbers.NOTHING,
            numbers.speed(row.wall_time_s),
            code(metrics.commit[:10]) + (", local changes" if metrics.dirty else "")
            if metrics.commit
            else numbers.NOTHING,
            code(row.run_id[:12]),
            tracked.link(row.mlflow_run_id, code(row.mlflow_run_id))
            if row.mlflow_run_id
            else numbers.NOTHING,
        ]
        for result in results
        if (metrics := result.metrics)
        for row in metrics.seeds
    ]
    head = [
        "variant",
        "seed",
        "last",
        "at epoch",
        "best",
        "at epoch",
        "seconds",
        "commit",
        "run",
        "MLflow run",
    ]
    return Table(head, rows, frozenset(range(1, 7)))
