"""The trials of the factorial design: every setting of every budget with every seed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.project.call import Call
from pipeline.search.factorial.design import Design
from pipeline.search.search import Search, Trial, runs_of_setting

Budgets = dict[str, Design]


def search_of(call: Call, budgets: Budgets, shards: Path) -> Search:
    """Return the trials: every setting of every budget with every seed."""
    factorial = call.params.factorial
    trials = [
        Trial(run, {"budget": budget, **setting.values, **_switches(design, setting.name)})
        for budget, design in budgets.items()
        for setting in design.settings
        for run in runs_of_setting(call, factorial.task, setting, factorial.seeds, shards)
    ]
    description = {
        "metric": factorial.judged_by,
        "budgets": list(budgets),
        "seeds": factorial.seeds,
    }

    return Search(
        command="factorial",
        label="factorial design",
        trials=trials,
        metric=factorial.judged_by,
        mode=factorial.mode,
        workers=factorial.workers,
        concurrent=factorial.concurrent,
        description=description,
    )


def _switches(design: Design, name: str) -> dict[str, Any]:
    """Return a cell's switches as values of its trials."""
    return asdict(design.cells[name]) if name in design.cells else {}
