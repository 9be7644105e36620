"""Runs of a variant that differ in the seed alone: one MLflow run above them says what they come to
together.
"""

from math import sqrt
from statistics import fmean, stdev
from typing import Any

from pipeline.core.files import digest
from pipeline.project.call import Call
from pipeline.runs.make import runs_of
from pipeline.runs.run import Run
from pipeline.tracking.about import data_of, params_of, tags_of
from pipeline.tracking.entry import Entry, EntryFile, State, store_of

CONFIDENCE = 0.95


def entry_of(run: Run) -> EntryFile:
    """Return where a training keeps what MLflow is to say of it."""
    return EntryFile(run.folder.parent, run.folder, run.task)


def write_parents(call: Call, runs: list[Run], unfinished: State) -> dict[str, EntryFile]:
    """Write what MLflow is to say of the variants of these runs that have several seeds.

    Returns:
        By variant, the entry that those of its runs are to be children of.
    """
    parents = {}
    for run in {run.variant: run for run in runs}.values():
        seeds = runs_of(call, run.task, run.variant, run.shards)
        if len(seeds) > 1:
            parents[run.variant] = _write_parent(call, seeds, unfinished)
    return parents


def _write_parent(call: Call, seeds: list[Run], unfinished: State) -> EntryFile:
    first = seeds[0]
    records = [record for run in seeds if (record := run.finished()) is not None]
    name = f"{first.task}-{first.variant}-{digest([run.id for run in seeds])[:12]}"
    storage = first.folder.parent
    file = EntryFile(storage, storage / "variants" / name, first.task)
    numbers = ", ".join(str(run.seed) for run in seeds)

    entry = Entry(
        store=store_of(call.params.tracking, call.project).name,
        experiment=first.task,
        run_id=f"variants/{name}",
        name=f"{first.variant} seeds {numbers}",
        status="FINISHED" if len(records) == len(seeds) else unfinished,
        tags=tags_of(call, first),
        params={**params_of(first), "seed": numbers},
        data=data_of(call, first),
        description=f"`{first.variant}` on {len(seeds)} seeds, which are the runs below: the "
        "evaluations are means over them.",
        metrics=summary(records),
        children=[entry_of(run).key for run in seeds],
    )

    file.write(entry)
    return file


def summary(records: list[dict[str, Any]]) -> dict[str, float]:
    """Return what finished runs come to together: means of what they were last evaluated to.

    Of the main metric also the standard deviation and the 95% interval of its mean, and the mean of
    the best evaluations.
    """
    if not records:
        return {}

    lasts = [record["final"] for record in records]
    common = set.intersection(*(set(last) for last in lasts)) - {"epoch", "step"}
    defined = {name for name in common if all(last[name] is not None for last in lasts)}
    means = {f"eval/{name}": fmean(last[name] for last in lasts) for name in sorted(defined)}

    main = records[0]["main_metric"]
    values = [last[main] for last in lasts]

    above = {
        f"seeds/{main}_mean": fmean(values),
        f"seeds/{main}_best": fmean(record["best"][main] for record in records),
        f"seeds/{main}_last": fmean(values),
        "seeds/count": float(len(records)),
    }

    if len(values) > 1:
        deviation = stdev(values)
        half = _quantile(len(values)) * deviation / sqrt(len(values))
        above[f"seeds/{main}_sd"] = deviation
        above[f"seeds/{main}_low"] = fmean(values) - half
        above[f"seeds/{main}_high"] = fmean(values) + half

    return means | above


def _quantile(count: int) -> float:
    """Return by how many standard errors the interval of a mean reaches to either side."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, count - 1))
