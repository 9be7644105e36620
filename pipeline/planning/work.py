"""What a training has to do: steps and images, over its seeds, less what is done already."""

from argparse import Namespace
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.cli import Call
from pipeline.errors import UserError
from pipeline.params import Duration, Params, Task, Variant
from pipeline.planning.data import Amount

if TYPE_CHECKING:  # it imports NumPy, which a plan may do without
    from pipeline.engine.run import Run


@dataclass(frozen=True)
class Training:
    """A network that is trained with a recipe, once for each of `seeds`; `name` is what its stage calls it."""

    task: str
    name: str
    variant: Variant
    recipe: Any
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """Optimizer steps and images to do, in all runs together.

    `images` go through training, `evaluated` through so many `evaluations`. Of `runs` so many are `finished` and cost
    nothing; `begun` ones are counted from their newest checkpoint on.
    """

    steps: int
    images: int
    evaluations: int
    evaluated: int
    runs: int
    finished: int = 0
    begun: int = 0


def training_of(params: Params, task: str, variant: str) -> Training:
    """Return the training of a task's variant."""
    section: Task = getattr(params, task)
    return Training(task, variant, section.variants[variant], section.recipe_of(variant), section.seeds_of(variant))


def work_of(training: Training, amount: Amount, runs: "list[Run] | None") -> Work | None:
    """Return what is left to do; None where nobody knows yet how many images there are.

    Args:
        training: the network, its recipe and seeds.
        amount: the data set.
        runs: the training's runs, one a seed, where they can be told; else all is counted from the start.

    Raises:
        UserError: the training images do not fill one step.
    """
    if amount.images is None:
        return None
    recipe, train = training.recipe, amount.images["train"]
    per_epoch = train // recipe.global_batch
    if not per_epoch:
        raise UserError(
            f"{training.name}: {train} training images do not fill one global batch of {recipe.global_batch}; "
            "lower micro_batch or micro_batches"
        )
    total = steps_in(recipe.duration, per_epoch)
    every = steps_in(recipe.evaluate_every, per_epoch)
    left = [run for run in runs if run.finished() is None] if runs is not None else [None for _ in training.seeds]
    begun = [step for run in left if run is not None and (step := _reached(run, total))]
    steps = total * len(left) - sum(begun)
    done = [evaluations(total, every) if step == total else step // every for step in begun]
    due = evaluations(total, every) * len(left) - sum(done)
    return Work(
        steps=steps, images=steps * recipe.global_batch,
        evaluations=due, evaluated=due * amount.images[recipe.evaluate_on],
        runs=len(training.seeds), finished=len(training.seeds) - len(left), begun=len(begun),
    )  # fmt: skip


def steps_in(duration: Duration, per_epoch: int) -> int:
    """Return a duration in steps as the training loop takes it: at least one."""
    return max(1, duration.in_steps(per_epoch))


def evaluations(total: int, every: int) -> int:
    """Return how often a run is evaluated, which is due every so many steps and at the end."""
    return total // every + (total % every != 0)


def _reached(run: "Run", total: int) -> int:
    """Return the step of a run's newest sealed checkpoint, 0 where there is none."""
    sealed = [int(seal.parent.name) for seal in run.checkpoints.glob("[0-9]*/seal.json")]
    return min(max(sealed, default=0), total)


def runs_now(call: Call, training: Training) -> "list[Run] | None":
    """Return a variant's runs as the data and weights on disk decide them; None where those are not there."""
    from pipeline.train import runs_of

    section: Task = getattr(call.params, training.task)
    asked = replace(call, args=Namespace(**{**vars(call.args), "task": training.task}))
    try:
        return runs_of(asked, call.shards(section.dataset), training.name)
    except UserError:
        return None
