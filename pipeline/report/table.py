"""The judged pairs as CSV, for other programs."""

from __future__ import annotations

from pipeline.core.csv import csv_lines
from pipeline.report.claims import METRICS
from pipeline.report.verdict import Judged

HEAD = (
    "task",
    "variant",
    "claim",
    "table",
    "model",
    "metric",
    "unit",
    "published",
    "confidence",
    "source",
    "measured_final",
    "measured_best",
    "sd",
    "seeds",
    "delta",
    "tolerance",
    "verdict",
    "reasons",
    "todo",
    "commit",
    "run_ids",
)


def to_csv(judged: list[Judged]) -> str:
    """One line per claim and matching variant, per claim without one, and per variant without a
    claim.
    """
    return csv_lines(HEAD, (_line(item) for item in judged))


def _line(item: Judged) -> list[str]:
    claim = item.claim
    result = item.result
    measured = item.measured
    metrics = result.metrics if result else None
    published = [claim.id, claim.row.table, claim.row.model] if claim else ["", "", ""]
    unit = METRICS[item.metric].unit if item.metric in METRICS else ""
    value = [f"{claim.value:g}", claim.row.confidence, claim.row.source] if claim else ["", "", ""]

    return [
        item.task,
        result.name if result else "",
        *published,
        item.metric,
        unit,
        *value,
        number(measured.mean if measured else None),
        number(item.best),
        number(measured.sd if measured else None),
        str(measured.n) if measured else "",
        number(item.delta),
        number(item.tolerance),
        item.verdict,
        "; ".join(item.reasons),
        item.todo.replace("`", ""),
        (metrics.commit or "") if metrics else "",
        " ".join(row.run_id for row in metrics.seeds) if metrics else "",
    ]


def number(value: float | None) -> str:
    """Six decimals without trailing zeros; nothing for nothing."""
    if value is None:
        return ""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
