"""Train a task's variant and publish the result: `python -m pipeline.train classify dwnet_micro`.

A run that is finished already is published again without training, and without starting Ray.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from pipeline import cli, faults
from pipeline.adopt import adopt
from pipeline.cli import Call
from pipeline.engine.run import Run
from pipeline.errors import UserError, nearest
from pipeline.files import write_json
from pipeline.locks import Busy, held
from pipeline.params import TASKS, Task
from pipeline.params.recipes import CLASSIFY
from pipeline.publish import publish
from pipeline.recording import recorded, settled
from pipeline.runs import file_to_start_from, make_runs, refuse_damage


def main() -> None:
    """Read the command line, train what is not trained, publish."""
    parser = cli.parser("Train a task's variant on all its seeds and publish the result.")
    parser.add_argument("task", help=f"{', '.join(TASKS)}; or a stage of DVC, as in classify@dwnet_micro")
    parser.add_argument("variants", nargs="*", metavar="variant", help="entries of the task's variants in params.yaml")
    parser.add_argument("--adopt", metavar="ID", help="continue run ID, whose code was mended since, and say so")
    args = parser.parse_args()
    args.task, *first = cli.words_of(args.task)
    args.variants = [*first, *args.variants]
    call = cli.call(args)
    task, section = call.args.task, _section(call)
    if not args.variants:
        raise UserError(f"which variant of {task} is missing; known: {', '.join(section.variants) or 'none'}")
    for variant in call.args.variants:
        if variant not in section.variants:
            raise UserError(f"{task}.variants has no '{variant}'; {nearest(variant, section.variants)}")
    call.args.variants = list(dict.fromkeys(call.args.variants))
    with call.alone(task, *call.args.variants):
        train(call, call.shards(section.dataset))


def train(call: Call, shards: Path) -> None:
    """Train the asked-for runs that are not finished, bring MLflow up to date, publish."""
    wanted = [run for variant in call.args.variants for run in runs_of(call, shards, variant)]
    if call.args.adopt:
        adopt(call.args.adopt, wanted)
    if any(run.finished() is None for run in wanted):
        for advice in refuse_damage(shards, wanted):
            print(advice, file=sys.stderr, flush=True)
        _refuse_unfit([run for run in wanted if run.finished() is None])
        _train(call, wanted, _companions(call, shards, wanted))
    if unsettled := [run for run in wanted if run.finished() is not None and not settled(run)]:
        with recorded(call, unsettled) as recorder:
            recorder()
    for variant in call.args.variants:
        publish(call, [run for run in wanted if run.variant == variant])


def _refuse_unfit(runs: list[Run]) -> None:
    """Stop before anything starts where a network cannot be trained by its recipe; torch is not needed before."""
    from pipeline.engine.fitting import refuse_unfit

    refuse_unfit((run.label, run) for run in runs)


def _section(call: Call) -> Task:
    if call.args.task not in TASKS:
        raise UserError(f"no task '{call.args.task}'; {nearest(call.args.task, TASKS)}")
    section: Task = getattr(call.params, call.args.task)
    return section


def runs_of(call: Call, shards: Path, variant: str) -> list[Run]:
    """Return a variant's runs, one a seed."""
    section = _section(call)
    init = _start(call, call.args.task, variant)
    return make_runs(call, call.args.task, section, variant, section.seeds_of(variant), shards, init)


def _start(call: Call, task: str, variant: str) -> Path | None:
    """Return the file of weights that a variant starts from.

    Raises:
        UserError: it is not there; the sentence says what would make it.
    """
    start = getattr(call.params, task).recipe_of(variant).init_from
    if start is None:
        return None
    where = f"{task}.variants.{variant}"
    if start != CLASSIFY:
        return file_to_start_from(call, start, where)
    published = call.source(lambda folders: folders.results(CLASSIFY, variant, "model.safetensors"))
    advice = f"; run: {call.command('train', CLASSIFY, variant)}, or set {task}.recipe.init_from to null"
    return file_to_start_from(call, str(published), where, advice)


def _companions(call: Call, shards: Path, wanted: list[Run]) -> list[Run]:
    """Return unfinished, unpublished runs of the task's other variants, where `cluster.together` says so.

    Their own stages find them finished: several stages pay for one start of processes and imports.
    """
    if not call.params.cluster.together:
        return []
    others = [name for name in _section(call).variants if name not in {run.variant for run in wanted}]
    runs = [run for name in others for run in runs_of(call, shards, name)]
    return [run for run in runs if run.finished() is None and not _published(call, run)]


def _published(call: Call, run: Run) -> bool:
    metrics = call.folders.results(run.task, run.variant, "metrics.json")
    return metrics.is_file() and run.id.encode() in metrics.read_bytes()


def _train(call: Call, wanted: list[Run], companions: list[Run]) -> None:
    """Train runs in one worker group while MLflow records them; raise where one that was asked for ended badly.

    A run that another process trains is waited for where it was asked for, and left to it where it is a companion.
    """
    with ExitStack() as locks:
        once = {run.id: run for run in sorted(wanted, key=lambda run: run.id)}  # two variants may be the same run
        for run in once.values():
            locks.enter_context(held(run.folder / "lock", run.label))
        runs = [*once.values()] + [run for run in companions if _free(run, locks)]
        unfinished = [run for run in runs if run.finished() is None]  # another process may have been at them
        wrong = _train_recorded(call, unfinished) if unfinished else {}
    if asked := [wrong[run.id] for run in wanted if run.id in wrong]:
        raise UserError("; ".join(asked))


def _free(run: Run, locks: ExitStack) -> bool:
    """Take a run's lock if nobody has it."""
    try:
        locks.enter_context(held(run.folder / "lock", run.label, wait=False))
    except Busy:
        return False
    return True


def _train_recorded(call: Call, runs: list[Run]) -> dict[str, str]:
    """Train runs; return those that bad input ended, with the reason."""
    for run in runs:
        write_json(run.folder / "decides.json", run.decides)
    with recorded(call, runs) as recorder:
        from pipeline.cluster import connected
        from pipeline.engine.group import train_group

        with connected(call.params.cluster):
            wrong = train_group(runs, call.params.cluster, recorder())
            faults.reach("train.ended")
            return wrong


if __name__ == "__main__":
    cli.main(main)
