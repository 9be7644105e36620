"""Training the runs of a call that are not finished, in one worker group, while MLflow records
them.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.core.locks import Busy
from pipeline.project.call import Call
from pipeline.runs.adopt import adopt
from pipeline.runs.make import check_shards, runs_of, section_of
from pipeline.runs.publish import publish
from pipeline.runs.run import Run, upload_finished
from pipeline.tracking.trainings import recorded, register, settled


def train(call: Call, shards: Path) -> None:
    """Train the asked-for runs that are not finished, bring MLflow up to date, publish."""
    task = call.args.task
    variants = call.args.variants
    requested = [run for variant in variants for run in runs_of(call, task, variant, shards)]

    if call.args.adopt:
        adopt(call.args.adopt, requested)

    if any(run.finished() is None for run in requested):
        for advice in check_shards(call, shards, requested):
            print(advice, file=sys.stderr, flush=True)
        _refuse_untrainable([run for run in requested if run.finished() is None])
        _train(call, requested, _companions(call, shards, requested))

    upload_finished(requested)
    if unsettled := [run for run in requested if run.finished() is not None and not settled(run)]:
        with recorded(call, unsettled) as ready:
            ready()

    for variant in variants:
        publish(call, [run for run in requested if run.variant == variant])
    register(
        call, [next(run for run in requested if run.variant == variant) for variant in variants]
    )


def _refuse_untrainable(runs: list[Run]) -> None:
    """Stop before anything starts where a network cannot be trained by its recipe; torch is not
    needed before.
    """
    from pipeline.cluster.fitting import refuse_untrainable

    refuse_untrainable((run.label, run) for run in runs)


def _companions(call: Call, shards: Path, requested: list[Run]) -> list[Run]:
    """Return unfinished, unpublished runs of the task's other variants, where `cluster.together`
    says so.

    Their own stages find them finished: several stages pay for one start of processes and imports.
    """
    if not call.params.cluster.together:
        return []

    task = call.args.task
    variants = {run.variant for run in requested}
    others = [name for name in section_of(call, task).variants if name not in variants]
    runs = [run for name in others for run in runs_of(call, task, name, shards)]
    return [run for run in runs if run.finished() is None and not _published(call, run)]


def _published(call: Call, run: Run) -> bool:
    metrics = call.folders.results(run.task, run.variant, "metrics.json")
    return metrics.is_file() and run.id.encode() in metrics.read_bytes()


def _train(call: Call, requested: list[Run], companions: list[Run]) -> None:
    """Train runs in one worker group while MLflow records them; raise where one that was asked for
    ended badly.

    A run that another process trains is waited for where it was asked for, and left to it where it
    is a companion.
    """
    with ExitStack() as locks:
        # two variants may be the same run
        distinct = {run.id: run for run in sorted(requested, key=lambda run: run.id)}
        for run in distinct.values():
            locks.enter_context(run.exclusive())

        runs = [*distinct.values()] + [run for run in companions if _free(run, locks)]
        # another process may have been at them
        unfinished = [run for run in runs if run.finished() is None]
        wrong = _train_recorded(call, unfinished) if unfinished else {}

    if reasons := [wrong[run.id] for run in requested if run.id in wrong]:
        raise UserError("; ".join(reasons))


def _free(run: Run, locks: ExitStack) -> bool:
    """Take a run's lock if nobody has it."""
    try:
        locks.enter_context(run.exclusive(wait=False))
    except Busy:
        return False
    return True


def _train_recorded(call: Call, runs: list[Run]) -> dict[str, str]:
    """Train runs; return those that bad input ended, with the reason."""
    # before the training: what adopts the run later asks what it was made of
    for run in runs:
        write_json(run.folder / "decides.json", run.decides)

    with recorded(call, runs) as ready:
        from pipeline.cluster.connection import connected
        from pipeline.cluster.groups import train_runs

        with connected(call.params.cluster):
            ready()
            wrong = train_runs(runs, call.params.cluster)
            failpoints.reach("train.ended")
            return wrong
