"""What a stage trains: one variant, or every setting of a search, each a variant with a recipe and
seeds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.params import TASKS, Cluster, Params
from pipeline.params.searches import Asha
from pipeline.planning.work import Training, training_of
from pipeline.project.call import Call

if TYPE_CHECKING:
    from pipeline.runs.run import Run

SEARCHES = ("tune", "factorial")
"""Verbs that train many settings side by side, and their sections of the parameters."""


@dataclass(frozen=True)
class Group:
    """Trainings of one stage.

    `workers` train one run together. Of a search as many runs go on at once as the cluster holds,
    `concurrent` at most; `left_out` counts combinations that cannot be run, and `halved` are the
    rungs at which trials stop early. Of controls at most `uncounted` runs are not among the
    trainings.
    """

    trainings: tuple[Training, ...]
    workers: int
    concurrent: int | None = None
    searches: bool = False
    left_out: int = 0
    halved: Asha | None = None
    uncounted: int = 0

    def at_once(self, cluster: Cluster) -> int:
        """Return how many runs go on at once, where the cluster is what `cluster` asks for."""
        if not self.searches:
            return 1
        runs = sum(len(training.seeds) for training in self.trainings)
        return min(max(1, cluster.workers // self.workers), self.concurrent or runs, runs)


def group_of(params: Params, verb: str, key: str, controls: bool) -> Group | None:
    """Return what a stage trains, None where it does not train.

    Args:
        params: the whole parameters.
        verb: the stage's.
        key: the variant of a task.
        controls: count the factorial's controls of equal size too, which builds networks and needs
            torch.

    Raises:
        UserError: a search has no setting, or a wrong one.
    """
    if verb in TASKS:
        return Group((training_of(params, verb, key),), params.cluster.workers)
    if verb == "tune":
        return _search(params)
    return _design(params, controls) if verb == "factorial" else None


def _search(params: Params) -> Group:
    from pipeline.search.tune.space import settings_of

    tune = params.tune
    settings, left_out = settings_of(params)
    return Group(
        tuple(
            Training(tune.task, setting.name, setting.section, tune.seeds) for setting in settings
        ),
        tune.workers,
        tune.concurrent,
        True,
        len(left_out),
        tune.asha if tune.scheduler == "asha" else None,
    )


def _design(params: Params, controls: bool) -> Group:
    from pipeline.search.factorial.design import designs_of

    factorial, designs = params.factorial, designs_of(params, controls)
    trainings = (
        Training(factorial.task, setting.name, setting.section, factorial.seeds, tier)
        for tier, design in designs.items()
        for setting in design.settings
    )
    left_out = sum(len(design.left_out) for design in designs.values())
    missing = (
        sum(len(design.cells) for design in designs.values())
        if factorial.controls and not controls
        else 0
    )
    return Group(
        tuple(trainings),
        factorial.workers,
        factorial.concurrent,
        True,
        left_out,
        uncounted=missing * len(factorial.seeds),
    )


def ended_in(call: Call, group: Group, runs: "list[Run]") -> set[str]:
    """Return the ids of a search's runs that were stopped early, and need nothing more."""
    if not group.searches or not runs:
        return set()
    from pipeline.search.journal import Journal

    book = Journal(
        runs[0].folder.parent,
        [sorted(run.id for run in runs), group.halved and group.halved.model_dump()],
    )
    endings = ((run.id, book.ending(run)) for run in runs)
    return {
        identifier
        for identifier, ending in endings
        if ending is not None and ending.state == "stopped"
    }


def share(asha: Asha, epochs: float, steps: float) -> float:
    """Return the part of a trial that is left on average where every rung lets one of `reduction`
    trials go on.

    Args:
        asha: the rungs: the first at `grace`, each next one `reduction` times as far.
        epochs: of a whole trial.
        steps: the same in steps.
    """
    total = epochs if asha.time_attribute == "epoch" else steps
    spent, reached, going, rung = 0.0, 0.0, 1.0, float(asha.grace)
    while rung < total:
        spent += going * (rung - reached)
        reached, going, rung = rung, going / asha.reduction, rung * asha.reduction
    return (spent + going * (total - reached)) / total
