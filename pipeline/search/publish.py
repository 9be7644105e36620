"""What a search becomes under results/tune/: a table of trials, their curves, the best setting,
pictures.
"""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pipeline.core import failpoints
from pipeline.core.files import whole_folder
from pipeline.project.call import Call
from pipeline.project.git import commit
from pipeline.runs.publish import data_facts
from pipeline.runs.results.files import publish_json, publish_table
from pipeline.runs.results.search import COSTS, BestFile, CurveLine, SearchFile, TrialLine
from pipeline.runs.results.training import HISTORY
from pipeline.search.journal import TrialEnding
from pipeline.search.search import Search, SearchOutcome, Trial, total_in
from pipeline.search.settings import LeftOut, Setting
from pipeline.search.tracking import record_published

NOT_METRICS = {"run_id", *HISTORY}


def publish_search(
    call: Call,
    search: Search,
    settings: list[Setting],
    left_out: list[LeftOut],
    outcome: SearchOutcome,
) -> None:
    """Write results/tune/, whole or not at all."""
    from pipeline.search import pictures

    tune = call.params.tune
    rows = trial_rows(search, outcome)
    best = best_of(search, settings, outcome)

    with whole_folder(call.folders.results("tune")) as folder:
        publish_json(
            folder / "search.json",
            SearchFile,
            {
                "task": tune.task,
                "metric": search.metric,
                "mode": search.mode,
                **search.description,
                "space": tune.model_dump(mode="json")["space"],
                "seeds": tune.seeds,
                **shared_facts(call, search, outcome),
                "left_out": [
                    {"values": combination.values, "reason": combination.reason}
                    for combination in left_out
                ],
                "trials": len(rows),
            },
        )
        publish_trials(folder / "trials.csv", rows, ["run_id", *tune.space, "seed"])
        _publish_curves(folder / "curves.csv", search, outcome)
        publish_json(folder / "best.json", BestFile, best)
        pictures.draw(search, rows, outcome, folder)
        failpoints.reach("results.written", variant="tune")

    _say(search, best, rows)
    record_published(call, search, outcome, call.folders.results("tune"))


def shared_facts(call: Call, search: Search, outcome: SearchOutcome) -> dict[str, Any]:
    """Return what is the same for all trials of a search."""
    run = search.trials[0].run
    head, dirty = commit(call.project)
    return {
        "epochs": round(total_in(run, "epoch"), 4),
        "recipe": run.recipe.model_dump(mode="json"),
        "image_size": run.recipe.network_size,
        "mlflow_run_id": outcome.mlflow_run,
        "commit": head,
        "dirty": dirty,
        "data": data_facts(call, run),
    }


def trial_rows(search: Search, outcome: SearchOutcome) -> list[dict[str, Any]]:
    """Return the lines of trials.csv; what a killed driver could not note of costs is counted
    now.
    """
    from pipeline.search.costs import Costs

    costs = Costs()
    rows = []

    for trial in search.trials:
        row = _trial_row(search, trial, outcome)
        rows.append(row if row.get("macs") is not None else {**row, **costs.of(trial.run)})

    return rows


def _trial_row(search: Search, trial: Trial, outcome: SearchOutcome) -> dict[str, Any]:
    """Return how a trial ended: values, the last evaluation, costs."""
    run = trial.run
    ending = outcome.endings[trial.run.id]
    record = run.finished() or {}
    last = ending.rows[-1] if ending.rows else {}
    metrics = {name: value for name, value in last.items() if name not in NOT_METRICS}

    seen = [row[search.metric] for row in ending.rows if row.get(search.metric) is not None]
    best = (
        {f"best_{search.metric}": max(seen) if search.mode == "max" else min(seen)} if seen else {}
    )
    speed = {"train_images_per_second": last["images_per_second"]} if last else {}
    costs = {name: record[name] for name in COSTS if name in record}

    return {
        **trial.values,
        "run_id": run.id,
        "seed": run.seed,
        "state": ending.state,
        "epoch": last.get("epoch"),
        **metrics,
        **best,
        **ending.costs,
        **speed,
        **costs,
        "mlflow_run_id": outcome.mlflow_runs[run.id],
        "error": ending.error,
    }


def publish_trials(path: Path, rows: list[dict[str, Any]], first: Iterable[str]) -> None:
    """Write trials.csv: the columns `first`, how the trial ended, metrics, costs; empty where one
    is not known.
    """
    head = [*first, "state", "epoch"]
    metrics = sorted({name for row in rows for name in row} - {*head, *COSTS})
    publish_table(path, TrialLine, [*head, *metrics, *COSTS], rows)


def _publish_curves(path: Path, search: Search, outcome: SearchOutcome) -> None:
    """Write every evaluation of every trial."""
    rows = [
        {**row, "run_id": trial.run.id, "seed": trial.run.seed}
        for trial in search.trials
        for row in outcome.endings[trial.run.id].rows
    ]

    first = ("run_id", *HISTORY)
    metrics = sorted({name for row in rows for name in row} - set(first))
    publish_table(path, CurveLine, [*first, *metrics], rows)


def best_of(search: Search, settings: list[Setting], outcome: SearchOutcome) -> dict[str, Any]:
    """Return the setting with the best mean over the seeds at the end, among those with every seed
    finished.
    """
    scored: list[tuple[float, Setting, list[TrialEnding]]] = []

    for setting in settings:
        endings = [outcome.endings[run.id] for run in search.runs_with(setting.section)]
        if all(
            ending.state == "finished" and search.metric in ending.rows[-1] for ending in endings
        ):
            scored.append(
                (fmean(ending.rows[-1][search.metric] for ending in endings), setting, endings)
            )

    if not scored:
        return {
            "metric": search.metric,
            "values": None,
            "reason": "no setting finished with every seed",
        }

    mean, setting, endings = (max if search.mode == "max" else min)(
        scored, key=lambda candidate: candidate[0]
    )
    values = [ending.rows[-1][search.metric] for ending in endings]
    return {
        "metric": search.metric,
        "values": setting.values,
        "mean": mean,
        "sd": stdev(values) if len(values) > 1 else None,
        "seeds": [run.seed for run in search.runs_with(setting.section)],
        "run_ids": [ending.run_id for ending in endings],
        "variant": _entry(setting),
    }


def _entry(setting: Setting) -> dict[str, Any]:
    """Return the setting as an entry for a task's variants; what it was judged on is not part of
    it.
    """
    entry = setting.variant.model_dump(mode="json", exclude_defaults=True)
    recipe = {
        name: value
        for name, value in entry.pop("recipe", {}).items()
        if name not in ("hold_out", "evaluate_on")
    }
    return {**entry, "recipe": recipe} if recipe else entry


def _say(search: Search, best: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    states = [row["state"] for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    named = (
        "none finished"
        if best["values"] is None
        else (f"best {search.metric} {best['mean']:.2f} with ")
        + " ".join(f"{key}={value}" for key, value in best["values"].items())
    )

    print(f"search: {counts}; {named}", flush=True)
