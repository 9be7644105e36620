"""What a factorial design becomes under results/factorial/."""

from dataclasses import asdict
from typing import Any

from pipeline.core import failpoints
from pipeline.core.files import whole_folder
from pipeline.project.call import Call
from pipeline.runs.results.files import publish_json
from pipeline.runs.results.search import DesignFile
from pipeline.search.factorial.trials import Budgets
from pipeline.search.publish import publish_trials, shared_facts, trial_rows
from pipeline.search.search import Search, SearchOutcome, total_in
from pipeline.search.tracking import record_published


def publish_factorial(call: Call, search: Search, budgets: Budgets, outcome: SearchOutcome) -> None:
    """Write results/factorial/, whole or not at all."""
    rows = trial_rows(search, outcome)
    facts = shared_facts(call, search, outcome)
    common = {
        name: facts[name] for name in ("image_size", "data", "mlflow_run_id", "commit", "dirty")
    }
    first = next(iter(budgets.values()))

    with whole_folder(call.folders.results("factorial")) as folder:
        publish_json(
            folder / "design.json",
            DesignFile,
            {
                "task": call.params.factorial.task,
                "metric": search.metric,
                "mode": search.mode,
                "seeds": call.params.factorial.seeds,
                **common,
                "budgets": {budget: _budget(search, budget) for budget in budgets},
                "settings": {
                    setting.name: _setting(setting)
                    for design in budgets.values()
                    for setting in design.settings
                },
                "cells": {name: asdict(cell) for name, cell in first.cells.items()},
                "controls": first.controls,
                "contrasts": first.contrasted(),
                "left_out": first.left_out,
            },
        )
        publish_trials(
            folder / "trials.csv",
            _without(rows, "shared_positions", "channel_groups", "dynamic"),
            ["budget", "setting", "seed", "run_id"],
        )
        failpoints.reach("results.written", variant="factorial")

    states = [row["state"] for row in rows]
    print(
        "factorial: "
        + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
        flush=True,
    )
    record_published(call, search, outcome, call.folders.results("factorial"))


def _without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


def _budget(search: Search, budget: str) -> dict[str, Any]:
    run = next(trial.run for trial in search.trials if trial.values["budget"] == budget)
    return {
        "epochs": round(total_in(run, "epoch"), 4),
        "recipe": run.recipe.model_dump(mode="json"),
    }


def _setting(setting: Any) -> dict[str, Any]:
    variant = setting.variant
    return {
        "mixer": variant.mixer,
        "size": variant.size,
        "model": variant.model_name,
        "overrides": variant.overrides,
        "own_recipe": variant.recipe,
    }
