"""The driver of a search: which trials are still to be run, running them with Ray Tune, and how
each ended.
"""

import os
import shutil
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.params import Cluster
from pipeline.project.call import Call
from pipeline.runs.make import check_shards
from pipeline.search.journal import Journal, TrialEnding
from pipeline.search.search import Search, SearchOutcome, Trial, total_in
from pipeline.search.tracking import SearchRecorder, recorded
from pipeline.search.watched import refuse_unwatched

if TYPE_CHECKING:
    from pipeline.search.trial import TrialWork

# Set before Ray Tune is imported. It would write a log of its own for every trial, answer Ctrl-C by
# itself and call that a success, print tables, and refuse the last word of a trial because it is no
# evaluation.
TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
COORDINATOR = {"node:__internal_head__": 0.001}
"""What a trial holds that only follows its workers: no CPU, or they would not fit beside it on a
small machine.
"""


def run_search(call: Call, search: Search) -> SearchOutcome:
    """Run what has not ended yet, and return how all ended.

    A trial that failed before is tried again.

    Raises:
        UserError: DVC would not see the trials' task change, the workers do not divide a batch, the
            shards are damaged, MLflow or the cluster cannot be reached, or a trial does not fit
            into it.
    """
    runs = [trial.run for trial in search.trials]
    refuse_unwatched(call.project, search.command, runs[0].task)
    _refuse_workers(search)
    journal = search.journal()

    # a second driver, perhaps of another checkout, waits here, and then finds the trials ended
    with journal.alone(search.label):
        journal.forget_failures()
        # two settings may come to the same run
        distinct = {trial.run.id: trial for trial in search.trials}
        unfinished = [trial for trial in distinct.values() if not journal.settled(trial.run)]
        if unfinished:
            for advice in check_shards(call, runs[0].shards, runs):
                print(advice, file=sys.stderr, flush=True)
            _refuse_untrainable(unfinished)

        with recorded(call, search, journal.id) as recorder:
            # those of earlier calls too: a kill may have kept them from being recorded
            for trial in search.trials:
                if (ending := journal.ending(trial.run)) is not None:
                    recorder.trial(trial, ending)
            if unfinished:
                _train_alone(call, search, unfinished, journal, recorder)
            endings = _all_endings(search, journal)

        return SearchOutcome(endings, recorder.mlflow_run(), recorder.mlflow_runs())


def _all_endings(search: Search, journal: Journal) -> dict[str, TrialEnding]:
    """Return how every trial ended, by run id.

    Raises:
        UserError: some did not, because Ray Tune ended before.
    """
    runs = [trial.run for trial in search.trials]
    endings = {run.id: ending for run in runs if (ending := journal.ending(run)) is not None}
    if missing := [trial.label for trial in search.trials if trial.run.id not in endings]:
        raise UserError(
            f"{len(missing)} trials did not run, e.g. {missing[0]}; run the command again"
        )
    return endings


def _refuse_workers(search: Search) -> None:
    for trial in search.trials:
        if (count := trial.run.recipe.micro_batches) % search.workers:
            raise UserError(
                f"{search.command}.workers {search.workers} does not divide the {count} "
                "micro-batches of a global batch "
                f"({trial.label}); use a number of workers that divides {count}"
            )


def _refuse_untrainable(unfinished: list[Trial]) -> None:
    from pipeline.cluster.fitting import refuse_untrainable

    refuse_untrainable((trial.label, trial.run) for trial in unfinished)


def _train_alone(
    call: Call, search: Search, unfinished: list[Trial], journal: Journal, recorder: SearchRecorder
) -> None:
    """Hold the runs that are left, so that nobody else trains any of them, and a cluster; have them
    trained.
    """
    cluster = call.params.cluster.model_copy(update={"workers": search.workers})
    with ExitStack() as locks:
        # in one order everywhere: two drivers that share runs cannot wait for each other
        for trial in sorted(unfinished, key=lambda trial: trial.run.id):
            locks.enter_context(trial.run.exclusive())
            write_json(trial.run.folder / "decides.json", trial.run.decides)

        os.environ.update(TUNE)
        from pipeline.cluster.connection import connected

        with connected(cluster):
            recorder.ready()
            _train_by_tune(search, unfinished, journal, recorder, cluster)


def _train_by_tune(
    search: Search,
    unfinished: list[Trial],
    journal: Journal,
    recorder: SearchRecorder,
    cluster: Cluster,
) -> None:
    """Have Ray Tune run the trials, each a `TuneTrial`, until the last one is over."""
    import ray
    from ray import tune

    from pipeline.cluster.places import gpus_per_worker
    from pipeline.search.following import Following
    from pipeline.search.trial import TrialWork, TuneTrial

    resources = ray.cluster_resources()
    gpus = gpus_per_worker(cluster, resources)
    # of itself Tune starts as many trials as fit, which leaves their workers no place
    at_once = _at_once(cluster, gpus, resources, search.concurrent)
    following = Following(search, unfinished, journal, recorder, at_once)

    storage = unfinished[0].run.folder.parent / "ray"
    name = f"tune-{journal.id}-{time.time_ns()}"

    work = TrialWork(
        {trial.run.id: trial.run for trial in unfinished},
        cluster,
        gpus,
        search.metric,
        failpoints.armed(),
    )

    try:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(TuneTrial, work=work), _resources(work)),
            param_space={"run_id": tune.grid_search([trial.run.id for trial in unfinished])},
            tune_config=tune.TuneConfig(
                scheduler=_scheduler(search, journal),
                max_concurrent_trials=at_once,
                reuse_actors=search.workers == 1,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=str(storage),
                verbose=0,
                callbacks=[following],
                failure_config=tune.FailureConfig(max_failures=cluster.max_failures),
                # the runs keep their own
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


def _at_once(cluster: Cluster, gpus: float, resources: dict[str, float], most: int | None) -> int:
    """Return how many trials the cluster holds at a time.

    Raises:
        UserError: not even one.
    """
    fitting = []
    for kind, each in (("CPU", cluster.cpus_per_worker), ("GPU", gpus)):
        need = each * cluster.max_workers
        have = resources.get(kind, 0)
        if need > have:
            raise UserError(
                f"a trial of {cluster.max_workers} workers needs {need:g} {kind}, the Ray cluster "
                f"has {have:g}; lower "
                f"workers or cluster.{kind.lower()}s_per_worker"
            )
        fitting += [int(have / need)] if need else []

    return min([*fitting, *([most] if most else [])])


def _resources(work: "TrialWork") -> Any:
    """Return what Ray Tune reserves for a trial; several workers are reserved by the trial's own
    Ray Train run.
    """
    from ray.tune import PlacementGroupFactory

    if work.cluster.max_workers > 1:
        return PlacementGroupFactory([COORDINATOR])
    return PlacementGroupFactory([{"CPU": work.cluster.cpus_per_worker, "GPU": work.gpus}])


def _scheduler(search: Search, journal: Journal) -> Any:
    """Return None for all trials to their end, or the scheduler that stops some, told of those that
    ended before.
    """
    if search.asha is None:
        return None
    from pipeline.search.tune.scheduler import asha

    endings = [
        ending for trial in search.trials if (ending := journal.ending(trial.run)) is not None
    ]
    ended = sorted((ending for ending in endings if ending.rows), key=lambda ending: ending.order)
    past = [(ending.run_id, ending.rows) for ending in ended]

    return asha(
        search.asha,
        search.metric,
        search.mode,
        total_in(search.trials[0].run, search.asha.time_attribute),
        past,
    )
