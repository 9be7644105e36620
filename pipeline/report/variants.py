"""What was trained and profiled, as tables: a line per variant, and a line per seed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from pipeline.params.registry import classifier, tasks
from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.claims import TASK_NAMES, TASKS
from pipeline.report.document import Block, Folded, Heading, Paragraph, Table, code, plain
from pipeline.report.results import Results, VariantResult
from pipeline.report.scale import small_because
from pipeline.report.statistics import Summary
from pipeline.report.tracked import Tracked
from pipeline.report.verdict import measured_value
from pipeline.runs.results.profile import ProfileFile
from pipeline.runs.results.training import Metrics

AT_PAPERS_CLASSES = [
    "variant",
    "parameters, M",
    "MACs, G",
    "memory in inference, MB",
    "inference, images/s",
    "quartiles",
    "training, images/s",
    "quartiles",
]
"""What the profile counts: with the paper's classes, which the data need not have."""


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
            blocks += [Paragraph(fact) for fact in _run_facts(trained)]
            blocks += [
                *_profiled(trained),
                Folded("Every configuration", [_configurations(trained)]),
                Folded("Every seed, with its run ids and commit", [_run_table(trained, tracked)]),
            ]

    return blocks or [Paragraph("params.yaml names no variant.")]


def _variant_table(task: str, results: list[VariantResult], folder: Path) -> Table:
    metric = next(
        (result.metrics.main_metric for result in results if result.metrics),
        tasks()[task].main_metric,
    )

    speed = ["inference, images/s"] if task == classifier() else []
    head = [
        "configuration",
        f"{numbers.labelled(metric)}, last",
        "95% interval",
        "seeds",
        "parameters, M",
        "MACs, G",
        *speed,
        "training, images/s",
        "hours",
        "device",
        "scale",
    ]

    rows = [_variant_row(result, metric, folder, bool(speed)) for result in results]
    caption = (
        f"{TASK_NAMES[task].capitalize()}: means over seeds, t-intervals. Hours are those of all "
        "seeds and workers together."
    )
    return Table(head, rows, frozenset(range(1, len(head) - 2)), caption, "results")


def _variant_row(result: VariantResult, metric: str, folder: Path, timed: bool) -> list[str]:
    metrics = result.metrics
    profile = result.profile
    speed = numbers.speed(profile.inference_images_per_second if profile else None)
    inference = [speed] if timed else []

    if metrics is None:
        todo = f"`{result.again(result.stage)}`"
        counted = [numbers.NOTHING] * 2
        return [
            f"`{result.name}`",
            "not run",
            numbers.NOTHING,
            numbers.NOTHING,
            *counted,
            *inference,
            *counted,
            numbers.NOTHING,
            todo,
        ]

    measured = measured_value(result, metric)
    seconds = sum(row.wall_time_s for row in metrics.seeds) * metrics.world_size
    training = fmean(row.train_images_per_second for row in metrics.seeds)

    return [
        _link(result, folder),
        numbers.value(metric, measured.mean if measured else None),
        _interval(metric, measured),
        str(len(metrics.seeds)),
        numbers.value("parameters_m", metrics.parameters / 1e6),
        numbers.value("macs_g", metrics.macs / 1e9 if metrics.macs else None),
        *inference,
        numbers.speed(training),
        f"{seconds / 3600:.3g}",
        code(metrics.device),
        words.scale_of(bool(small_because(metrics)), metrics.data.synthetic),
    ]


def _interval(metric: str, measured: Summary | None) -> str:
    if measured is None or measured.interval is None:
        return numbers.NOTHING
    low, high = measured.interval
    return f"{numbers.value(metric, low)} to {numbers.value(metric, high)}"


def _link(result: VariantResult, folder: Path) -> str:
    target = Path(os.path.relpath(result.folder / "metrics.json", folder)).as_posix()
    return f"[`{result.name}`]({quote(target)})"


def _quartiles(ends: list[float] | None) -> str:
    return " to ".join(map(numbers.speed, ends)) if ends else numbers.NOTHING


def _profiled(results: list[VariantResult]) -> list[Block]:
    """Return what the profiles of classifiers count."""
    rows = [
        [
            f"`{result.name}`",
            numbers.value("parameters_m", profile.parameters / 1e6),
            numbers.value("macs_g", profile.macs / 1e9),
            numbers.speed(profile.peak_memory_mb),
            numbers.speed(profile.inference_images_per_second),
            _quartiles(profile.inference_quartiles),
            numbers.speed(profile.train_images_per_second),
            _quartiles(profile.train_quartiles),
        ]
        for result in results
        if result.task == classifier() and (profile := result.profile)
    ]

    table = Table(AT_PAPERS_CLASSES, rows, frozenset(range(1, 8)))
    return [Folded("Costs with the paper's 1,000 classes", [table])] if rows else []


def _configurations(results: list[VariantResult]) -> Table:
    rows = [
        [
            f"`{result.name}`",
            code(metrics.model),
            code(json.dumps(metrics.overrides)),
            code(json.dumps(metrics.recipe)),
        ]
        for result in results
        if (metrics := result.metrics)
    ]
    return Table(["variant", "network", "what differs in it", "recipe"], rows)


def _run_facts(results: list[VariantResult]) -> list[str]:
    """Return what the runs of a task were made with; profiles are said apart, for they may come
    from another machine.
    """
    trained = sorted({_training(result.metrics) for result in results if result.metrics})
    profiles = [
        result.profile for result in results if result.task == classifier() and result.profile
    ]
    timed = sorted({_timing(profile) for profile in profiles})

    facts = [f"Trained on {' and on '.join(trained)}."]
    if timed:
        facts.append(
            f"Inference and memory on {'; and on '.join(timed)}. "
            "Training images/s are those of the run, loading included."
        )

    facts += [
        f"The speed of `{profile.variant}` is in doubt: {plain(doubt)}."
        for profile in profiles
        for doubt in profile.doubts
    ]

    return facts


def _training(metrics: Metrics) -> str:
    data = metrics.data
    source = "synthetic" if data.synthetic else code(data.source)
    images = f"{data.train_samples:,} training and {data.val_samples:,} validation images"
    workers = f"{metrics.world_size} worker{'' if metrics.world_size == 1 else 's'}"
    return f"{source} {plain(data.dataset)} ({images}), {workers}, {code(metrics.device)}"


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
