"""What DVC shows: a few numbers of each variant (`dvc metrics show`), series (`dvc plots show`).

The numbers are those of metrics.json and of the report's tables; nothing is computed here but means
over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from pipeline.core.csv import csv_text
from pipeline.core.files import whole_folder, write_text
from pipeline.project.call import Call
from pipeline.report.answers.answer import Evidence
from pipeline.report.claims import TASKS
from pipeline.report.results import VariantResult

DIGITS = 5


def write_summaries(call: Call, evidence: Evidence, effects: str) -> None:
    """Write results/metrics/ and results/plots/, each whole or not at all.

    Args:
        call: whose results they are.
        evidence: what was measured.
        effects: the report's table of effects, as CSV.
    """
    with whole_folder(call.folders.results("metrics")) as folder:
        for result in evidence.results.run:
            numbers = json.dumps(few_numbers(result), indent=2)
            write_text(folder / result.task / f"{result.name}.json", numbers + "\n")

    with whole_folder(call.folders.results("plots")) as folder:
        for task in TASKS:
            write_text(folder / f"{task}.csv", _curves(evidence.results.of(task)))
        write_text(folder / "search.csv", _settings(evidence))
        write_text(folder / "effects.csv", effects)


def few_numbers(result: VariantResult) -> dict[str, float]:
    """Return what people compare of a trained variant: the main metric, its mean over the seeds at
    the last evaluation; millions of parameters; images a second in training.
    """
    metrics = result.metrics
    if metrics is None:
        return {}

    main = fmean(row.last[metrics.main_metric] for row in metrics.seeds)
    numbers = {
        metrics.main_metric: main,
        "parameters_m": metrics.parameters / 1e6,
        "train_images_per_second": metrics.train_images_per_second,
    }

    return {name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()}


def _curves(results: Iterable[VariantResult]) -> str:
    """Return every evaluation of a task's variants, as CSV."""
    rows = [
        {"variant": result.name, "seed": evaluation.seed, **evaluation.values}
        for result in results
        for evaluation in result.history
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return csv_text(list(names) or ["variant", "seed", "epoch"], rows)


def _settings(evidence: Evidence) -> str:
    """Return the main metric of every finished trial of the search, as CSV."""
    trials = evidence.search.trials if evidence.search else ()
    rows: Sequence[dict[str, Any]] = [
        {"setting": trial.setting, "seed": trial.seed, "value": trial.value}
        for trial in trials
        if trial.value is not None
    ]
    return csv_text(["setting", "seed", "value"], rows)
