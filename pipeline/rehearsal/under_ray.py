"""Whole commands under Ray, made small: a training on two workers, a trial of the search, a trial
of the design.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cluster.training import train
from pipeline.core.errors import UserError
from pipeline.params import Cluster, Tracking
from pipeline.params.registry import classifier
from pipeline.project.call import Call, Folders
from pipeline.rehearsal.places import FACTORIAL, TUNE, WalkItem
from pipeline.rehearsal.small import MORE, small
from pipeline.rehearsal.steps import StepsTaken, outcome_of, sentence_of
from pipeline.runs.make import runs_of
from pipeline.search.driver import run_search
from pipeline.search.factorial import trials as factorial
from pipeline.search.factorial.design import Design
from pipeline.search.factorial.publish import publish_factorial
from pipeline.search.publish import publish_search
from pipeline.search.search import Search
from pipeline.search.settings import Setting
from pipeline.search.tune import trials as tune

WORKERS = {classifier(): 2, TUNE: 2, FACTORIAL: 1}
"""By part: a worker group of Ray Train, one inside a trial of Ray Tune, and a trial that trains in
its own process.
"""
OURS = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
"""Variables that would take a rehearsal elsewhere."""


def walk_under_ray(
    call: Call, places: list[WalkItem], shards: dict[str, Path], scratch: Path
) -> Iterator[StepsTaken]:
    """Run one place of each part as its command does, to published results, on a Ray of this
    machine.
    """
    from pipeline.cluster.connection import connected

    for name in OURS:
        os.environ.pop(name, None)
    local = Cluster(workers=max(WORKERS.values()), storage=str(scratch / "runs"))

    with connected(local):
        for place in places:
            little = small(place, MORE, WORKERS[place.part])
            yield _timed(
                _COMMANDS[place.part], _called(call, little, local, scratch), little, shards
            )


def _called(call: Call, place: WalkItem, cluster: Cluster, scratch: Path) -> Call:
    """Return the call with the place's section alone, writing below `scratch`."""
    changes: dict[str, Any] = {
        place.task: place.section,
        "cluster": cluster,
        "tracking": Tracking(uri=f"sqlite:///{scratch / 'mlflow.db'}"),
    }
    if place.part in (TUNE, FACTORIAL):
        section = getattr(call.params, place.part)
        changes[place.part] = section.model_copy(
            update={"seeds": (0,), "workers": WORKERS[place.part]}
        )

    params = call.params.model_copy(update=changes)
    return replace(call, params=params, folders=Folders(scratch))


def _timed(
    command: Callable[..., StepsTaken], call: Call, place: WalkItem, shards: dict[str, Path]
) -> StepsTaken:
    began = time.monotonic()
    try:
        outcome = command(call, place, shards[place.section.dataset])
    except Exception as error:  # whatever it is, it belongs into the table
        outcome = StepsTaken(error=sentence_of(error))
    return replace(outcome, seconds=time.monotonic() - began)


def _train(call: Call, place: WalkItem, shards: Path) -> StepsTaken:
    section = place.section.model_copy(update={"seeds": (0,)})
    call.args.task = place.task
    call.args.variants = [place.variant]
    call.args.adopt = None
    call = replace(call, params=call.params.model_copy(update={place.task: section}))

    train(call, shards)
    [run] = runs_of(call, place.task, place.variant, shards)
    return outcome_of(run)


def _tune(call: Call, place: WalkItem, shards: Path) -> StepsTaken:
    settings = [Setting(place.variant, {}, place.section)]
    search = tune.search_of(call, settings, shards)
    outcome = run_search(call, search)
    publish_search(call, search, settings, [], outcome)
    return _trial(search)


def _factorial(call: Call, place: WalkItem, shards: Path) -> StepsTaken:
    budgets = {"rehearsal": Design([Setting(place.variant, {}, place.section)])}
    search = factorial.search_of(call, budgets, shards)
    outcome = run_search(call, search)
    publish_factorial(call, search, budgets, outcome)
    return _trial(search)


def _trial(search: Search) -> StepsTaken:
    """Return how the only trial ended."""
    [trial] = search.trials
    if trial.run.finished() is None:
        raise UserError("the trial failed; its line above says why")
    return outcome_of(trial.run)


_COMMANDS: dict[str, Callable[[Call, WalkItem, Path], StepsTaken]] = {
    classifier(): _train,
    TUNE: _tune,
    FACTORIAL: _factorial,
}
