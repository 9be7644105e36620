"""Train the crossed design of params.yaml: `python -m pipeline.factorial`.

Sharing over positions x channels that share a weight x dynamic weights, in one skeleton with paired seeds, controls of
equal size and contrasts beside it. Each run trains on the whole training set and is judged on `val`; a design that was
killed and is started again runs what is missing.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import cli, faults
from pipeline.cli import Call
from pipeline.files import whole_folder, write_json, write_text
from pipeline.search.design import Design, designs_of
from pipeline.search.driver import Outcome, Search, Tried, length, run_search, runs_of
from pipeline.search.publish import shared_facts, table, trial_rows

Tiers = dict[str, Design]


def main() -> None:
    """Read the command line, run what is missing, publish."""
    call = cli.call(
        cli.parser("Train the factorial: three factors crossed in one skeleton, and contrasts.").parse_args()
    )
    tiers = designs_of(call.params)
    with call.alone("factorial", "design"):
        shards = call.shards(next(iter(tiers.values())).settings[0].section.dataset)
        search = search_of(call, tiers, shards)
        for name, reason in {name: why for design in tiers.values() for name, why in design.left_out.items()}.items():
            print(f"left out, {name}: {reason}", flush=True)
        publish_factorial(call, search, tiers, run_search(call, search))


def search_of(call: Call, tiers: Tiers, shards: Path) -> Search:
    """Return the trials: every setting of every tier with every seed."""
    factorial = call.params.factorial
    tried = [
        Tried(run, {"tier": tier, **setting.values, **_switches(design, setting.name)})
        for tier, design in tiers.items()
        for setting in design.settings
        for run in runs_of(call, factorial.task, setting, factorial.seeds, shards)
    ]
    shown = {"metric": factorial.judged_by, "tiers": list(tiers), "seeds": factorial.seeds}
    label, metric = "crossed design", factorial.judged_by
    return Search(
        "factorial", label, tried, metric, factorial.mode, factorial.workers, factorial.concurrent, None, shown
    )


def _switches(design: Design, name: str) -> dict[str, Any]:
    """Return a cell's switches as values of its trials."""
    return asdict(design.cells[name]) if name in design.cells else {}


def publish_factorial(call: Call, search: Search, tiers: Tiers, outcome: Outcome) -> None:
    """Write results/factorial/, whole or not at all."""
    rows = trial_rows(search, outcome)
    facts = shared_facts(call, search, outcome)
    whole = {name: facts[name] for name in ("image_size", "data", "mlflow_run_id", "commit", "dirty")}
    first = next(iter(tiers.values()))
    with whole_folder(call.folders.results("factorial")) as folder:
        write_json(folder / "design.json", {
            "task": call.params.factorial.task, "metric": search.metric, "mode": search.mode,
            "seeds": call.params.factorial.seeds, **whole,
            "tiers": {tier: _tier(search, tier) for tier in tiers},
            "settings": {setting.name: _setting(setting) for design in tiers.values() for setting in design.settings},
            "cells": {name: asdict(cell) for name, cell in first.cells.items()},
            "controls": first.controls, "contrasts": first.contrasted(), "left_out": first.left_out,
        })  # fmt: skip
        write_text(folder / "trials.csv", table(_without(rows, "shared_positions", "channel_groups", "dynamic"),
                                                ["tier", "setting", "seed", "run_id"]))  # fmt: skip
        faults.reach("results.written", variant="factorial")
    states = [row["state"] for row in rows]
    print("factorial: " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)), flush=True)


def _without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


def _tier(search: Search, tier: str) -> dict[str, Any]:
    run = next(tried.run for tried in search.tried if tried.values["tier"] == tier)
    return {"epochs": round(length(run, "epoch"), 4), "recipe": run.recipe.model_dump(mode="json")}


def _setting(setting: Any) -> dict[str, Any]:
    variant = setting.variant
    return {
        "mixer": variant.mixer, "size": variant.size, "model": variant.model_name, "overrides": variant.overrides,
        "own_recipe": variant.recipe,
    }  # fmt: skip


if __name__ == "__main__":
    cli.main(main)
