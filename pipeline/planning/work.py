"""What a training has to do: steps and images, over its seeds, less what is done already."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.params import Params, Task, Variant
from pipeline.planning.data import Amount

if TYPE_CHECKING:  # it imports NumPy, which a plan may do without
    from pipeline.runs.run import Run


@dataclass(frozen=True)
class Training:
    """A network that is trained with a recipe, once for each of `seeds`; `section` holds both under
    `name`.

    `budget` is the one of the factorial that it belongs to.
    """

    task: str
    name: str
    section: Task
    seeds: tuple[int, ...]
    budget: str = ""

    @property
    def variant(self) -> Variant:
        """The network."""
        return self.section.variants[self.name]

    @property
    def recipe(self) -> Any:
        """How it is trained."""
        return self.section.recipe_of(self.name)


@dataclass(frozen=True)
class PlannedWork:
    """Optimizer steps and images to do, in all runs together.

    `images` go through training, `evaluated` through so many `evaluations`. Of `runs` so many are
    `finished` and cost nothing; `begun` ones are counted from their newest checkpoint on. A whole
    run has `total` steps, `per_epoch` an epoch.
    """

    steps: int
    images: int
    evaluations: int
    evaluated: int
    runs: int
    finished: int = 0
    begun: int = 0
    total: int = 1
    per_epoch: int = 1


def training_of(params: Params, task: str, variant: str) -> Training:
    """Return the training of a task's variant."""
    section: Task = getattr(params, task)
    return Training(task, variant, section, section.seeds_of(variant))


def work_of(training: Training, amount: Amount, runs: "list[Run] | None") -> PlannedWork | None:
    """Return what is left to do; None where nobody knows yet how many images there are.

    Args:
        training: the network, its recipe and seeds.
        amount: the data set.
        runs: those of the training's runs that are still to be trained, where they can be told;
            else all is counted from the start.

    Raises:
        UserError: the training images do not fill one step.
    """
    if amount.images is None:
        return None

    recipe = training.recipe
    images = parts_of(amount, training.recipe.hold_out)
    per_epoch = images["train"] // recipe.global_batch
    if not per_epoch:
        raise UserError(
            f"{training.name}: {images['train']} training images do not fill one global batch of "
            f"{recipe.global_batch}; lower micro_batch or micro_batches"
        )

    total = recipe.duration.at_least_a_step(per_epoch)
    every = recipe.evaluate_every.at_least_a_step(per_epoch)
    remaining = len(training.seeds) if runs is None else len(runs)
    begun = [step for run in runs or () if (step := _reached(run, total))]
    steps = total * remaining - sum(begun)
    done = [evaluations(total, every) if step == total else step // every for step in begun]
    due = evaluations(total, every) * remaining - sum(done)

    return PlannedWork(
        steps=steps,
        images=steps * recipe.global_batch,
        evaluations=due,
        evaluated=due * images[recipe.evaluate_on],
        runs=len(training.seeds),
        finished=len(training.seeds) - remaining,
        begun=len(begun),
        total=total,
        per_epoch=per_epoch,
    )


def parts_of(amount: Amount, hold_out: float) -> dict[str, int]:
    """Return the images of `val`, of `train` without what is held out of each shard, and of
    `held_out`.
    """
    images: dict[str, int] = {str(split): count for split, count in (amount.images or {}).items()}
    held = (
        sum(min(max(1, round(size * hold_out)), size - 1) for size in amount.train_shards)
        if hold_out
        else 0
    )
    return {**images, "train": images["train"] - held, "held_out": held}


def evaluations(total: int, every: int) -> int:
    """Return how often a run is evaluated, which is due every so many steps and at the end."""
    return total // every + (total % every != 0)


def _reached(run: "Run", total: int) -> int:
    """Return the step of a run's newest sealed checkpoint, 0 where there is none."""
    sealed = [int(seal.parent.name) for seal in run.checkpoints.glob("[0-9]*/seal.json")]
    return min(max(sealed, default=0), total)
