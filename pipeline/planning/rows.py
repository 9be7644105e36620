"""Published rows joined with the variants of the parameters and the plan of their stages."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipeline.params import TASKS, Task
from pipeline.params.registry import tasks
from pipeline.planning.estimate import Plan, PlanRow
from pipeline.planning.table import device_time, disk_size
from pipeline.project.call import Call, repro
from pipeline.report import numbers
from pipeline.report.claims import COSTS, TASK_NAMES, Claim, ClaimRow, load_claims
from pipeline.report.results import VariantResult
from pipeline.report.verdict import matches

HEAD = "| table | row | command | expected | confidence | device time | disk |\n" + "|---" * 7 + "|"
NONE = "none"


@dataclass(frozen=True)
class ExpectedRow:
    """A published row; the name of a variant that is its network, and that stage's plan.

    `name` is empty where no variant is, `cost` None where nothing of it would run.
    """

    row: ClaimRow
    name: str
    cost: PlanRow | None


def expected_rows(call: Call, plan: Plan) -> list[ExpectedRow]:
    """Return the published rows in the order of the claims, one for each variant that fits.

    Raises:
        UserError: the claims cannot be read.
    """
    planned = {row.stage.name: row for row in plan.rows}
    rows = []
    for row, (claim, *_) in groupby(load_claims(), lambda claim: claim.row):
        for name in list(_fitting(call, claim)) or [""]:
            rows.append(ExpectedRow(row, name, planned.get(f"{row.task}@{name}")))
    return rows


def as_markdown(rows: list[ExpectedRow]) -> str:
    """Return a table for each task, a line for each row."""
    parts = []
    for task in TASKS:
        lines = [_line(row) for row in rows if row.row.task == task]
        parts.append("\n".join([f"## {TASK_NAMES[task].capitalize()}", "", HEAD, *lines]))
    return "\n\n".join(parts) + "\n"


def comment(rows: list[ExpectedRow], task: str, name: str) -> str:
    """Return what a params file says behind a variant: its main metric as it is published and as it
    is recalled, and its device time.
    """
    rows_here = [row for row in rows if (row.row.task, row.name) == (task, name)]
    metric = tasks()[task].main_metric
    values: dict[str, dict[str, None]] = {"published": {}, "recalled": {}}
    for row in rows_here:
        if metric in row.row.values:
            text = numbers.published(metric, row.row.values[metric])
            values[row.row.confidence][text] = None

    parts = [f"{' or '.join(texts)} {confidence}" for confidence, texts in values.items() if texts]
    return ", ".join([*parts, *{device_time(row.cost): None for row in rows_here if row.cost}])


def _fitting(call: Call, claim: Claim) -> Iterator[str]:
    """Yield the variants that are a claim's network."""
    section: Task = getattr(call.params, claim.row.task)
    for name, variant in section.variants.items():
        untrained = VariantResult(claim.row.task, name, variant, Path(), None, None, ())
        if matches(claim, untrained):
            yield name


def _line(row: ExpectedRow) -> str:
    expected = "; ".join(
        f"{numbers.label(metric)} {numbers.published(metric, value)}"
        for metric, value in row.row.values.items()
        if metric not in COSTS
    )

    cells = [
        row.row.table,
        f"{row.row.model} (`{row.row.id}`)",
        f"`{repro(f'{row.row.task}@{row.name}')}`" if row.name else NONE,
        expected,
        row.row.confidence,
        device_time(row.cost) if row.cost else NONE,
        disk_size(row.cost) if row.cost else NONE,
    ]

    return f"| {' | '.join(cells)} |"
