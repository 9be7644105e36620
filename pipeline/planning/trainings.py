"""What a stage trains: one variant, or every setting of a search, each a variant with a recipe and
seeds.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError
from pipeline.params import TASKS, Cluster
from pipeline.params.searches import Asha
from pipeline.planning.speed import Kind, threads
from pipeline.planning.work import Training, training_of
from pipeline.project.call import Call

if TYPE_CHECKING:  # they import NumPy, which a plan may do without
    from pipeline.runs.run import Run
    from pipeline.search.search import Search


@dataclass(frozen=True)
class Group:
    """Trainings of one stage.

    `workers` train one run together. `search` makes the search of its shards' folder: as many runs
    go on at once as the cluster holds, `concurrent` at most; `left_out` counts combinations that
    cannot be run, and `halved` are the rungs at which trials stop early.
    """

    trainings: tuple[Training, ...]
    workers: int
    concurrent: int | None = None
    search: "Callable[[Path], Search] | None" = None
    left_out: int = 0
    halved: Asha | None = None

    def at_once(self, cluster: Cluster, slots: int) -> int:
        """Return how many runs go on at once where there is room for so many workers."""
        most = max(1, slots // self.workers)
        if self.search is None:
            return most if cluster.together else 1
        runs = sum(len(training.seeds) for training in self.trainings)
        return min(most, self.concurrent or runs, runs)


def slots(cluster: Cluster, kind: Kind) -> int:
    """Return how many workers there is room for: as many as `cluster` asks for, or on CPUs more
    where this machine has more cores and no other cluster is joined.
    """
    if kind == "GPU" or "RAY_ADDRESS" in os.environ:
        return cluster.max_workers
    return max(cluster.max_workers, (os.cpu_count() or 1) // threads(cluster))


def group_of(call: Call, verb: str, key: str) -> Group | None:
    """Return what a stage trains, None where it does not train.

    Args:
        call: the whole parameters, and where the project is.
        verb: the stage's.
        key: the variant of a task.

    Raises:
        UserError: a search has no setting, or a wrong one.
    """
    if verb in TASKS:
        return Group((training_of(call.params, verb, key),), call.params.cluster.max_workers)
    if verb == "tune":
        return _search(call)
    return _design(call) if verb == "factorial" else None


def _search(call: Call) -> Group:
    from pipeline.search.tune.space import settings_of
    from pipeline.search.tune.trials import halving, search_of

    tune = call.params.tune
    settings, left_out = settings_of(call.params)

    return Group(
        tuple(
            Training(tune.task, setting.name, setting.section, tune.seeds) for setting in settings
        ),
        tune.workers,
        tune.concurrent,
        partial(search_of, call, settings),
        len(left_out),
        halving(tune),
    )


def _design(call: Call) -> Group:
    from pipeline.search.factorial.design import designs_of
    from pipeline.search.factorial.trials import search_of

    factorial = call.params.factorial
    designs = designs_of(call.params)
    trainings = (
        Training(factorial.task, setting.name, setting.section, factorial.seeds, budget)
        for budget, design in designs.items()
        for setting in design.settings
    )
    left_out = sum(len(design.left_out) for design in designs.values())

    return Group(
        tuple(trainings),
        factorial.workers,
        factorial.concurrent,
        partial(search_of, call, designs),
        left_out,
    )


def runs_left(call: Call, group: Group) -> "list[list[Run] | None]":
    """Return of each training the runs that are still to be trained, as the data and weights on
    disk decide them; None where those are not there.
    """
    from pipeline.runs.make import runs_of

    first, *_ = group.trainings
    try:
        shards = call.shards(first.section.dataset)
        if group.search is None:
            runs = [
                runs_of(call, training.task, training.name, shards) for training in group.trainings
            ]
            return [[run for run in some if run.finished() is None] for some in runs]
        search = group.search(shards)
    except UserError:
        return [None for _ in group.trainings]

    journal = search.journal()
    runs = [search.runs_with(training.section) for training in group.trainings]
    return [[run for run in some if not journal.settled(run)] for some in runs]


def share(asha: Asha, epochs: float, steps: float) -> float:
    """Return the part of a trial that is left on average where every rung lets one of `reduction`
    trials go on.

    Args:
        asha: the rungs: the first at `grace`, each next one `reduction` times as far.
        epochs: of a whole trial.
        steps: the same in steps.
    """
    total = epochs if asha.time_attribute == "epoch" else steps
    spent = 0.0
    reached = 0.0
    going = 1.0
    rung = float(asha.grace)

    while rung < total:
        spent += going * (rung - reached)
        reached = rung
        going = going / asha.reduction
        rung = rung * asha.reduction
    return (spent + going * (total - reached)) / total
