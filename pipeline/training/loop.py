"""The training loop: start, step, evaluate, checkpoint, finish.

It knows no task, and nothing of Ray: `wrap` prepares a model for gradient averaging over ranks, and
each evaluation goes to whoever asked for the training.

A rank that dies leaves the others waiting in a collective; nothing here notices. The processes
around do: `pipeline.cluster.losses` finds and names the lost rank, Ray Train ends its group and
starts another (`pipeline.cluster.workers`), whose loop goes on from the newest checkpoint, and
`pipeline.cluster.groups` says what happens where it fails too often.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, NoReturn, cast

import torch
import torch.distributed as dist
from torch import nn

from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.locks import held
from pipeline.loading.micro_batches import Broken, Ranks, train_loader
from pipeline.loading.sampling import Batch
from pipeline.params import Duration
from pipeline.runs import checkpoint
from pipeline.runs.run import Run
from pipeline.runs.spool import Spool
from pipeline.training import batchnorm
from pipeline.training.collectives import all_gather, any_rank, broadcast
from pipeline.training.evaluate import evaluate
from pipeline.training.finish import best_path, best_weights, finish, write_weights
from pipeline.training.interval import Interval
from pipeline.training.setup import build_or_resume, open_setup
from pipeline.training.step import Step

Row = dict[str, Any]
Wrap = Callable[[nn.Module], nn.Module]
PROGRESS_EVERY_S = 1.0


class Left(Exception):
    """A run was left where it is, with a checkpoint, because that was asked for."""


def _never() -> bool:
    return False


def evaluations(
    run: Run,
    ranks: Ranks,
    device: torch.device,
    wrap: Wrap,
    replay_history: bool = False,
    leave: Callable[[], bool] = _never,
) -> Generator[Row, None, None]:
    """Train a run to its end and seal it, unless it is finished; every rank calls this with the
    same run.

    Args:
        run: what to train; nothing is yielded for a finished one, whatever `replay_history` says.
        ranks: this process among those that train together.
        device: where to compute.
        wrap: prepares the model for gradient averaging over ranks.
        replay_history: yield first the evaluations made before the checkpoint that the run
            continues from.
        leave: asked before each step; all ranks go by what any of them hears.

    Yields:
        each evaluation as it is made; closing the iterator leaves the run there.

    Raises:
        Left: on every rank, after a checkpoint, where `leave` said so.
        UserError: on every rank, where the loss stops being finite, a sample is broken, or the data
            cannot fill one step.
    """
    run = run.here()
    with _writer_lock(run, ranks):
        # rank 0 looks, after the wait for the lock: the other ranks might still see an older folder
        finished = broadcast(run.finished() is not None if ranks.rank == 0 else False, ranks)
        if not finished:
            loop = Loop(run, ranks, device, wrap)
            with closing(loop.uploads):
                yield from loop.rows() if replay_history else ()
                yield from loop.train(leave)


def _writer_lock(run: Run, ranks: Ranks) -> AbstractContextManager[None]:
    """Keep rank 0, which writes, waiting until a killed run's rank 0 is really gone.

    `Run.exclusive` is held by the driver, which may end before its workers do: the next driver then
    has that lock while the last worker may still write here.
    """
    return held(run.folder / "training.lock", run.label) if ranks.rank == 0 else nullcontext()


def _finite(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """Return what has a finite value; a loss over no step at all, or that of a network gone astray,
    has none.
    """
    return {
        name: value for name, value in numbers.items() if value is not None and math.isfinite(value)
    }


class Loop:
    """One run on one rank, from its newest checkpoint to its seal."""

    def __init__(self, run: Run, ranks: Ranks, device: torch.device, wrap: Wrap) -> None:
        self.run = run
        self.ranks = ranks
        self.device = device
        self.setup = open_setup(run, ranks, device)
        self.recipe = self.setup.recipe
        self.total = self.setup.total
        self.uploads = self.setup.uploads

        self.state = build_or_resume(self.setup)
        wrapped = wrap(self.state.model)
        self.interval = Interval(self.state, device)
        self.step = Step(self.setup, self.state, wrapped, self.interval)
        self.spool = Spool(None if ranks.rank else run.spool, self.state.step, self.total)
        self._saved_step = self.state.step
        self._progress_time = 0.0

    def rows(self) -> list[Row]:
        """Return the evaluations so far."""
        return [{"run_id": self.run.id, **row} for row in self.state.history]

    def train(self, leave: Callable[[], bool]) -> Iterator[Row]:
        """Run the remaining steps, yielding each evaluation, then seal the run.

        The order within a step matters. Ranks agree before they compute: one that stopped alone
        would leave the others waiting in a collective for ever. An evaluation comes before the
        checkpoint of the same step, which holds it, so that a restart does not evaluate again.
        """
        state = self.state
        state.model.train()
        loader = train_loader(
            self.setup.train_samples, state.step, self.total, self.ranks, self.run.loader_workers
        )
        batches = iter(loader)

        for number in range(state.step, self.total):
            micro_batches = [next(batches) for _ in range(self.step.micro_batches_here)]
            broken = next((batch for batch in micro_batches if isinstance(batch, Broken)), None)
            if self._agreed(broken, leave()):
                self._leave()

            self._step(number, cast(list[Batch], micro_batches))
            # failpoints are for tests alone
            failpoints.reach("step", rank=self.ranks.rank, step=state.step)
            self._progress()

            if self._due(self.recipe.evaluate_every):
                self._evaluate()
                yield self.rows()[-1]
                failpoints.reach("evaluated", rank=self.ranks.rank, step=state.step)
            if self._due(self.recipe.checkpoint_every):
                self._checkpoint()

        self._finish()

    def _due(self, every: Duration) -> bool:
        return self.state.step % self.setup.to_steps(every) == 0 or self.state.step == self.total

    def _agreed(self, broken: Broken | None, leave: bool) -> bool:
        """Return whether any rank was asked to leave the run here, before the next step.

        Raises:
            UserError: on every rank, so that none waits for another that will not come, where a
                micro-batch of the step is broken on any rank.
        """
        if self.ranks.world > 1:
            flags = torch.tensor([float(broken is not None), float(leave)], device=self.device)
            broken_anywhere, leave = any_rank(flags, self.ranks)
            if broken_anywhere:
                batches = all_gather(broken, self.ranks)
                broken = next(batch for batch in batches if batch is not None)
        if broken is not None:
            raise type(broken.error)(f"{self.run.label}: {broken.sentence}")
        return leave

    def _leave(self) -> NoReturn:
        if self._saved_step != self.state.step:
            self._checkpoint()
        self.setup.announce(f"leaves at step {self.state.step} of {self.total}, as was asked")
        raise Left

    def _step(self, number: int, micro_batches: list[Batch]) -> None:
        """Take a step, and note its loss, which stays on its device.

        Losses by step and in the progress are rank 0's own, so that no step waits for one; the
        `train_loss` of an evaluation (`train/interval_loss`) is the mean over ranks.
        """
        loss = self.step.take(number, micro_batches)
        self.state.step = number + 1
        if loss is not None:
            numbers = {
                "train/loss": loss,
                "train/lr": self.state.optimizer.param_groups[0]["lr"],
                "speed/images_per_second": self.interval.rate(),
            }
            self.spool.step(self.state.step, numbers)

    def _evaluate(self) -> None:
        """Measure the split, add a row to the history, keep the best weights apart."""
        state = self.state
        main_metric = self.setup.logic.main_metric
        train_loss, rate = self.interval.close(state, self.ranks)
        self._average_statistics()
        result = evaluate(
            self.setup.logic,
            state.eval_model,
            self.setup.eval_batches,
            self.recipe,
            self.ranks,
            self.device,
        )

        metrics = _finite(result.metrics)
        state.per_class = result.per_class
        state.right = result.correct
        state.confused = result.confused
        if main_metric not in metrics:
            raise UserError(
                f"{self.run.label}: split {self.recipe.evaluate_on} has nothing to judge by, no "
                f"labelled object or pixel, so there is no {main_metric}"
            )

        epoch = state.step / self.setup.train_samples.steps_per_epoch
        row = {"epoch": round(epoch, 4), "step": state.step, **metrics}
        lr = state.optimizer.param_groups[0]["lr"]
        training = _finite(
            {"lr": lr, "train_loss": train_loss, "images_per_second": round(rate, 1)}
        )
        state.history.append({**row, **training, "skipped_steps": self.interval.skipped})
        # of every main metric larger is better, which a test holds
        if not state.best or metrics[main_metric] > state.best[main_metric]:
            state.best = row
            if self.ranks.rank == 0:
                write_weights(best_path(self.run, state.step), state)
        self.spool.write_evaluation(state.history[-1])
        self.interval.restart(state)

    def _average_statistics(self) -> None:
        """Make the running statistics the same on every rank: what all micro-batches give."""
        state = self.state
        models = [state.model] if state.ema is None else [state.model, state.ema]
        batchnorm.average_over_ranks(models, self.ranks.world, state.step)

    def _checkpoint(self) -> None:
        """Save on rank 0 what all ranks hold.

        All ranks take part in the means over ranks. The numbers by step are written before the
        checkpoint is: a run that continues from it does not take these steps again. Weights that no
        checkpoint knows as its best go after it is sealed, and the upload only links the files, so
        that no step waits for a store.
        """
        state = self.state
        self._average_statistics()
        state.interval_loss = self.interval.average_over_ranks(self.ranks)
        state.interval_steps = self.interval.steps
        state.interval_skipped = self.interval.skipped
        self.interval.count_seconds(state)
        self.spool.flush()

        self._saved_step = state.step
        if self.ranks.rank == 0:
            checkpoint.save(self.run.checkpoints, state.step, state.to_dict())
            checkpoint.clear_superseded(self.run.checkpoints, best_weights(self.run))
            self.uploads.enqueue(state.step)

    def _finish(self) -> None:
        if self.ranks.rank == 0:
            finish(self.setup, self.state)
        if self.ranks.world > 1:
            dist.barrier()  # nobody starts the next run before this one is sealed

    def _progress(self) -> None:
        """Say how far the run is, at most once a second and at its end."""
        now = time.monotonic()
        at_end = self.state.step == self.total
        if self.ranks.rank or (now - self._progress_time < PROGRESS_EVERY_S and not at_end):
            return

        self._progress_time = now
        self.spool.flush()
        rate = self.interval.rate()
        steps_per_epoch = self.setup.train_samples.steps_per_epoch
        steps_left = self.total - self.state.step
        self.run.write_progress(
            {
                "step": self.state.step,
                "steps": self.total,
                "epoch": self.state.step / steps_per_epoch,
                "epochs": self.total / steps_per_epoch,
                "loss": self.interval.mean(),
                "skipped": self.state.skipped,
                "images_per_second": rate,
                "seconds_left": steps_left * self.recipe.global_batch / rate,
            }
        )
