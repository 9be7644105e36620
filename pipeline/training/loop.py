"""The training loop: resume, step, evaluate, checkpoint, finish.

It knows no task, and nothing of Ray: `wrap` prepares a model for gradient averaging over ranks, and
each evaluation goes to whoever asked for the training.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from models.aggregate import kernels
from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.core.files import write_bytes
from pipeline.core.locks import held
from pipeline.loading.hold_out import open_split
from pipeline.loading.micro_batches import (
    Broken,
    EvalSamples,
    Ranks,
    TrainSamples,
    eval_loader,
    train_loader,
)
from pipeline.loading.randomness import seed_for
from pipeline.loading.sampling import Batch
from pipeline.params import Duration
from pipeline.params.recipes import IMAGE_SIZE
from pipeline.runs import checkpoint
from pipeline.runs.run import Run
from pipeline.runs.spool import Spool
from pipeline.runs.uploads import Uploads, follow, uploads_of
from pipeline.runs.weights import read_weights
from pipeline.shards.reader import read_manifest
from pipeline.tasks.base import create, macs
from pipeline.training import batchnorm
from pipeline.training.evaluate import autocast, draw, evaluate
from pipeline.training.interval import Interval
from pipeline.training.schedule import lr_at
from pipeline.training.state import State

Row = dict[str, Any]
Report = Callable[[Row], None]
Wrap = Callable[[nn.Module], nn.Module]
T = TypeVar("T")
PROGRESS_EVERY_S = 1.0
AVERAGING: dict[str, Any] = {"find_unused_parameters": True, "broadcast_buffers": False}
"""How DDP must average: looking for unused parameters keeps its buckets as they are.

It otherwise rebuilds them after its first step, so a restarted run would sum in another order.
"""


class Left(Exception):
    """A run was left where it is, with a checkpoint, because that was asked for."""


def _never() -> bool:
    return False


def train(run: Run, ranks: Ranks, device: torch.device, wrap: Wrap, report: Report) -> None:
    """Train a run to its end and seal it, unless it is finished; every rank calls this with the
    same run.

    Raises:
        UserError: on every rank, where the loss stops being finite, a sample is broken, or the data
            cannot fill one step.
    """
    with closing(evaluations(run, ranks, device, wrap)) as rows:
        for row in rows:
            report(row)


def evaluations(
    run: Run,
    ranks: Ranks,
    device: torch.device,
    wrap: Wrap,
    past: bool = False,
    leave: Callable[[], bool] = _never,
) -> Generator[Row, None, None]:
    """Train a run as `train` does, and yield each evaluation as it is made; closing the iterator
    leaves the run there.

    With `past`, those come first that were made before the checkpoint that the run continues from.
    `leave` is asked before each step, and all ranks go by what any of them hears.

    Raises:
        Left: on every rank, after a checkpoint, where `leave` said so.
    """
    run = run.here()
    with _alone(run, ranks):
        if not from_rank_0(run.finished() is not None if ranks.rank == 0 else False, ranks):
            loop = Loop(run, ranks, device, wrap)
            with closing(loop.uploads):
                yield from loop.rows() if past else ()
                yield from loop.train(leave)


def _alone(run: Run, ranks: Ranks) -> AbstractContextManager[None]:
    """Keep rank 0, which writes, waiting until a killed run's rank 0 is really gone."""
    return held(run.folder / "training.lock", run.label) if ranks.rank == 0 else nullcontext()


def from_rank_0(value: T, ranks: Ranks) -> T:
    """Return rank 0's value on every rank."""
    shared = [value]
    if ranks.world > 1:
        dist.broadcast_object_list(shared)
    return shared[0]


def _measured(numbers: Mapping[str, float | None]) -> dict[str, float]:
    """Return what has a finite value; a loss over no step at all, or that of a network gone astray,
    has none.
    """
    return {
        name: value for name, value in numbers.items() if value is not None and math.isfinite(value)
    }


class Loop:
    """One run on one rank."""

    def __init__(self, run: Run, ranks: Ranks, device: torch.device, wrap: Wrap) -> None:
        self.run, self.ranks, self.device = run, ranks, device
        self.recipe = run.recipe
        manifest = read_manifest(run.shards, run.cache)
        self.logic = create(run.task, run.section, run.variant, manifest)
        self.macs = macs(run.task, run.section, run.variant, manifest) if ranks.rank == 0 else None
        readers = [
            open_split(run.shards, part, self.recipe.hold_out, run.cache)
            for part in ("train", self.recipe.evaluate_on)
        ]
        self.samples = TrainSamples(readers[0], self.logic.sampling, self.recipe, run.seed)
        self.val = EvalSamples(readers[1], self.logic.sampling, self.logic.eval_batch)
        self.val_loader = eval_loader(self.val, ranks, run.loader_workers)
        if self.samples.steps_per_epoch == 0:
            raise UserError(
                f"{run.variant}: {len(self.samples.reader)} training samples do not fill one "
                "global batch of "
                f"{self.recipe.global_batch}; lower micro_batch or micro_batches"
            )
        self.total = self._steps(self.recipe.duration)
        self.uploads = uploads_of(run, self._say) if ranks.rank == 0 else Uploads()
        self.state, self.wrapped = self._start(wrap)
        self.norms = batchnorm.norms_of(self.state.model)
        self.micros = self.recipe.micro_batches // ranks.world
        self.interval = Interval(self.state)
        self.spool = Spool(None if ranks.rank else run.spool, self.state.step, self.total)
        self.saved = self.state.step

    def _steps(self, duration: Duration) -> int:
        return max(1, duration.in_steps(self.samples.steps_per_epoch))

    def _start(self, wrap: Wrap) -> tuple[State, nn.Module]:
        """Build the model, then take over the newest valid checkpoint where there is one."""
        torch.manual_seed(seed_for("init", self.run.seed))
        model = self.logic.build().to(self.device)
        if self.recipe.sync_bn:
            model = self._synchronised(model)
        if self.recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)
        if self.run.init_from is not None:
            fresh = self.logic.start_from(model, self._given(self.run.init_from))
            self._say(
                f"starts from {self.run.init_from}"
                + (f", fresh: {', '.join(fresh)}" if fresh else "")
            )
        state = State.fresh(model, self.recipe, self.device)
        saved = self._newest()
        if saved is not None:
            state.load(saved)
        begun = "continues" if saved else "starts"
        ranks = f"{self.ranks.world} rank{'s' if self.ranks.world > 1 else ''}"
        self._say(f"{begun} at step {state.step} of {self.total} on {ranks}")
        if self.recipe.compile:
            model.compile()
        return state, wrap(model)

    def _given(self, path: Path) -> dict[str, Tensor]:
        """Read the weights to start from."""
        return read_weights(
            path,
            self.run.section.variants[self.run.variant],
            self.recipe.network_size or IMAGE_SIZE,
        )

    def _synchronised(self, model: nn.Module) -> nn.Module:
        """Let the batch norms see the whole global batch, which then is the same on any number of
        GPUs.

        Raises:
            UserError: a rank has more than one micro-batch of a step, so that its ranks would not
                see all at once.
        """
        if self.device.type != "cuda":
            self._say("sync_bn is for GPUs; on this device the batch norms see their micro-batch")
            return model
        if self.ranks.world != self.recipe.micro_batches:
            raise UserError(
                f"{self.run.variant}: sync_bn needs one worker for each of the "
                f"{self.recipe.micro_batches} "
                f"micro-batches, there are {self.ranks.world}; make cluster.workers and "
                "micro_batches equal, or set "
                "sync_bn: false"
            )
        return model if self.ranks.world == 1 else nn.SyncBatchNorm.convert_sync_batchnorm(model)

    def _newest(self) -> dict[str, Any] | None:
        """Return the newest valid checkpoint's state; rank 0 chooses, so that all ranks continue
        from the same.
        """
        path, saved, chosen = None, None, None
        if self.ranks.rank == 0:
            checkpoint.clear_leftovers(self.run.checkpoints)
            self.uploads.bring()
            path, saved, damaged = checkpoint.load_newest(self.run.checkpoints, self.device)
            for sentence in damaged:
                self._say(sentence)
            chosen = None if path is None else self.uploads.share(path)
        path, chosen = from_rank_0((path, chosen), self.ranks)
        if self.ranks.rank and chosen is not None:
            path = follow(self.run, chosen)
        return checkpoint.load(path, self.device) if self.ranks.rank and path is not None else saved

    def rows(self) -> list[Row]:
        """Return the evaluations so far."""
        return [{"run_id": self.run.id, **row} for row in self.state.history]

    def train(self, leave: Callable[[], bool]) -> Iterator[Row]:
        """Run the remaining steps, yielding each evaluation, then seal the run."""
        state = self.state
        state.model.train()
        loader = train_loader(
            self.samples, state.step, self.total, self.ranks, self.run.loader_workers
        )
        batches = iter(loader)
        for step in range(state.step, self.total):
            mine = [next(batches) for _ in range(self.micros)]
            broken = next((batch for batch in mine if isinstance(batch, Broken)), None)
            if self._agreed(broken, leave()):
                self._leave()
            self._step(step, cast(list[Batch], mine))
            state.step = step + 1
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
        return self.state.step % self._steps(every) == 0 or self.state.step == self.total

    def _agreed(self, broken: Broken | None, leave: bool) -> bool:
        """Return whether any rank was asked to leave the run here, before the next step.

        Raises:
            UserError: on every rank, so that none waits for another that will not come, where a
                micro-batch of the step is broken on any rank.
        """
        if self.ranks.world > 1:
            flags = torch.tensor([float(broken is not None), float(leave)], device=self.device)
            dist.all_reduce(flags, op=dist.ReduceOp.MAX)
            somewhere, leave = map(bool, flags.tolist())
            if somewhere:
                everyone: list[Broken | None] = [None] * self.ranks.world
                dist.all_gather_object(everyone, broken)
                broken = next(one for one in everyone if one is not None)
        if broken is not None:
            raise type(broken.error)(f"{self.run.label}: {broken.sentence}")
        return leave

    def _leave(self) -> NoReturn:
        if self.saved != self.state.step:
            self._checkpoint()
        self._say(f"leaves at step {self.state.step} of {self.total}, as was asked")
        raise Left

    def _step(self, step: int, batches: list[Batch]) -> None:
        """Accumulate the gradients of this rank's micro-batches, average over ranks, update.

        A step that is passed over leaves everything as it was, batch norm's running statistics too.
        """
        state, numbers = self.state, self.recipe.optimizer
        statistics = (
            batchnorm.statistics_of(self.norms) if self.recipe.on_non_finite == "skip" else []
        )
        before = [statistic.clone() for statistic in statistics]
        for group in state.optimizer.param_groups:
            group["lr"] = lr_at(step, self.recipe, self.samples.steps_per_epoch)
        losses = [self._backward(step, index, batch) for index, batch in enumerate(batches)]
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), numbers.clip_grad or float("inf"))
        finite_loss, finite_gradient = self._finite(losses, norm)
        routine = (
            state.scaler.is_enabled()
        )  # that a gradient is infinite: the scaler lowers its scale
        if not finite_loss or not (finite_gradient or routine):
            if self.recipe.on_non_finite == "stop":
                raise UserError(self._non_finite(step, losses, batches))
            for statistic, earlier in zip(statistics, before, strict=True):
                statistic.copy_(earlier)
            self._pass_over(step, "loss" if not finite_loss else "gradient")
        elif finite_gradient:
            state.scaler.step(state.optimizer)
            if state.ema is not None:
                state.ema.update_parameters(state.model)
            loss = torch.stack(losses).mean()
            self.interval.add(loss, self.recipe.global_batch)
            self.spool.step(step + 1, self._numbers(loss))
        else:
            self._pass_over(step, "gradient under fp16")
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)

    def _numbers(self, loss: Tensor) -> dict[str, float | Tensor]:
        """Return what is told of a step: this rank's loss, which stays on its device."""
        return {
            "train/loss": loss,
            "train/lr": self.state.optimizer.param_groups[0]["lr"],
            "speed/images_per_second": self.interval.rate(),
        }

    def _pass_over(self, step: int, what: str) -> None:
        """Count a step that is not taken, and say so the first time."""
        self.interval.skip(self.recipe.global_batch)
        if self.state.skipped == 0:
            self._say(
                f"step {step} has a non-finite {what} and is passed over; such steps are counted"
            )
        self.state.skipped += 1

    def _backward(self, step: int, index: int, batch: Batch) -> Tensor:
        """Add one micro-batch's gradient; only the last of a step talks to the other ranks."""
        batchnorm.set_momentum(self.norms, index, self.micros)
        micro = self.ranks.rank + index * self.ranks.world
        quiet = index < self.micros - 1 and hasattr(self.wrapped, "no_sync")
        with cast(Any, self.wrapped).no_sync() if quiet else nullcontext():
            with autocast(self.recipe.amp, self.device), kernels(self.recipe.kernels):
                prepared = self.logic.prepare(batch, self.device)
                loss = self.logic.loss(self.wrapped, prepared, (self.run.seed, step, micro))
            self.state.scaler.scale(loss / self.micros).backward()
        return loss.detach()

    def _finite(self, losses: list[Tensor], norm: Tensor) -> tuple[bool, bool]:
        """Say whether all losses and the gradient's norm are finite; all ranks come to the same
        answer.
        """
        flags = torch.stack([torch.stack(losses).isfinite().all(), norm.isfinite()]).float()
        if self.ranks.world > 1:
            dist.all_reduce(flags, op=dist.ReduceOp.MIN)
        loss, gradient = flags.tolist()
        return bool(loss), bool(gradient)

    def _non_finite(self, step: int, losses: list[Tensor], batches: list[Batch]) -> str:
        """Return the sentence that names step and samples, the same on every rank."""
        own = [
            key
            for loss, batch in zip(losses, batches, strict=True)
            if not loss.isfinite()
            for key in batch["keys"]
        ]
        everyone: list[list[str]] = [own]
        if self.ranks.world > 1:
            everyone = [[] for _ in range(self.ranks.world)]
            dist.all_gather_object(everyone, own)
        keys = [key for part in everyone for key in part]
        what = (
            f"loss of the micro-batch with samples {', '.join(keys)}"
            if keys
            else "gradient (each loss is finite)"
        )
        return (
            f"{self.run.label}: step {step} has a non-finite {what}; lower optimizer.lr or "
            "set on_non_finite: skip"
        )

    def _evaluate(self) -> None:
        """Measure the split, add a row to the history, keep the best weights apart."""
        state, epoch = self.state, self.state.step / self.samples.steps_per_epoch
        train_loss, rate = self.interval.close(self.state, self.ranks)
        models = [state.model] if state.ema is None else [state.model, state.ema]
        batchnorm.average_over_ranks(models, self.ranks.world, state.step)
        result = evaluate(
            self.logic, state.evaluated, self.val_loader, self.recipe, self.ranks, self.device
        )
        metrics = _measured(result.metrics)
        state.per_class, state.right = result.per_class, result.right
        if self.logic.main_metric not in metrics:
            raise UserError(
                f"{self.run.label}: split {self.recipe.evaluate_on} has nothing to judge by, no "
                "labelled object or "
                f"pixel, so there is no {self.logic.main_metric}"
            )
        row = {"epoch": round(epoch, 4), "step": state.step, **metrics}
        lr = state.optimizer.param_groups[0]["lr"]
        training = _measured(
            {"lr": lr, "train_loss": train_loss, "images_per_second": round(rate, 1)}
        )
        state.history.append({**row, **training, "skipped_steps": self.interval.skipped})
        if not state.best or metrics[self.logic.main_metric] > state.best[self.logic.main_metric]:
            state.best = row
            self._write_weights(f"best-{state.step:09d}.safetensors")
        self.spool.evaluated(state.history[-1])
        self.interval.restart(self.state)

    def _checkpoint(self) -> None:
        """Save on rank 0; the running statistics must first be the same on every rank."""
        models = (
            [self.state.model] if self.state.ema is None else [self.state.model, self.state.ema]
        )
        batchnorm.average_over_ranks(models, self.ranks.world, self.state.step)
        self.state.interval_loss, self.state.interval_steps = (
            self.interval.merge(self.ranks),
            self.interval.steps,
        )
        self.state.interval_skipped = self.interval.skipped
        self.spool.flush()  # a run that continues from here does not take these steps again
        self.saved = self.state.step
        if self.ranks.rank == 0:
            checkpoint.save(self.run.checkpoints, self.state.step, self.state.to_dict())
            checkpoint.clear_superseded(self.run.checkpoints, self._bests())
            self.uploads.offer(self.state.step)

    def _finish(self) -> None:
        self._write_weights("last.safetensors")
        if self.ranks.rank == 0:
            state = self.state
            picture = draw(self.logic, state.evaluated, self.val, self.recipe, self.device)
            picture.save(self.run.folder / "samples.png")
            self._keep_best()
            final = {key: value for key, value in state.history[-1].items() if key in state.best}
            record = {
                "run_id": self.run.id,
                "seed": self.run.seed,
                "main_metric": self.logic.main_metric,
                "final": final,
                "best": state.best,
                "history": state.history,
                "per_class": state.per_class,
                "right": state.right,
                "skipped_steps": state.skipped,
                "parameters": sum(p.numel() for p in state.model.parameters()),
                "macs": self.macs,
                "train_images_per_second": round(
                    self.total * self.recipe.global_batch / state.train_seconds, 1
                ),
                "wall_time_s": round(state.seconds, 1),
                "world_size": self.ranks.world,
                "device": self._device_name(),
                "adopted": self.run.adopted(),
            }
            self.run.finish(record, ["last.safetensors", "best.safetensors", "samples.png"])
            for path in self._bests().values():  # not before: a kill would need them again
                path.unlink()
            self.uploads.finish()
        if self.ranks.world > 1:
            dist.barrier()  # nobody starts the next run before this one is sealed

    def _bests(self) -> dict[int, Path]:
        """Return the weights of evaluations that were the best so far, by step."""
        found = self.run.folder.glob("best-*.safetensors")
        return {int(path.stem.removeprefix("best-")): path for path in found}

    def _keep_best(self) -> None:
        """Give the best weights their final name; a kill may have left those of a step that was
        taken again.
        """
        best = f"best-{int(self.state.best['step']):09d}.safetensors"
        write_bytes(self.run.folder / "best.safetensors", (self.run.folder / best).read_bytes())

    def _write_weights(self, name: str) -> None:
        """Write the evaluated weights; safetensors wants them contiguous, channels_last weights are
        not.
        """
        if self.ranks.rank == 0:
            weights = {
                key: value.contiguous().cpu()
                for key, value in self.state.evaluated.state_dict().items()
            }
            write_bytes(self.run.folder / name, to_safetensors(weights))

    def _device_name(self) -> str:
        return (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else self.device.type
        )

    def _progress(self) -> None:
        """Say how far the run is, at most once a second and at its end."""
        now, done = time.monotonic(), self.state.step == self.total
        if self.ranks.rank or (now - self.interval.said < PROGRESS_EVERY_S and not done):
            return
        self.interval.said = now
        self.spool.flush()
        rate = self.interval.rate()
        left = (self.total - self.state.step) * self.recipe.global_batch / rate
        self.run.tell(
            {
                "step": self.state.step,
                "steps": self.total,
                "epoch": self.state.step / self.samples.steps_per_epoch,
                "epochs": self.total / self.samples.steps_per_epoch,
                "loss": self.interval.mean(),
                "skipped": self.state.skipped,
                "images_per_second": rate,
                "seconds_left": left,
            }
        )

    def _say(self, sentence: str) -> None:
        if self.ranks.rank == 0:
            self.run.note(sentence)
