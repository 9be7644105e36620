"""What a rank trains a run with: its data, its network, and the state that it continues from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from pipeline.core.errors import UserError
from pipeline.loading.hold_out import open_split
from pipeline.loading.micro_batches import EvalSamples, Ranks, TrainSamples, eval_loader
from pipeline.loading.randomness import seed_for
from pipeline.params import Duration
from pipeline.params.recipes import IMAGE_SIZE
from pipeline.runs import checkpoint
from pipeline.runs.run import Run
from pipeline.runs.uploads import Uploads, fetch_chosen, uploads_of
from pipeline.runs.weights import read_weights
from pipeline.shards.reader import read_manifest
from pipeline.tasks.base import TaskLogic, create, macs
from pipeline.training.collectives import broadcast
from pipeline.training.state import State


@dataclass(frozen=True)
class Setup:
    """One run on one rank; `macs` and the uploads are rank 0's.

    `eval_samples` are of the split that the recipe evaluates on: `val`, `train`, or what is held
    out of `train`.
    """

    run: Run
    recipe: Any
    ranks: Ranks
    device: torch.device
    logic: TaskLogic
    train_samples: TrainSamples
    eval_samples: EvalSamples
    eval_batches: DataLoader[Any]
    macs: int | None
    uploads: Uploads

    @property
    def total(self) -> int:
        """How many steps the run has."""
        return self.to_steps(self.recipe.duration)

    def to_steps(self, duration: Duration) -> int:
        """Return a duration in steps: at least one."""
        return duration.at_least_a_step(self.train_samples.steps_per_epoch)

    def announce(self, sentence: str) -> None:
        """Say a sentence to whoever follows the run (`Run.announce`), on rank 0 alone."""
        if self.ranks.rank == 0:
            self.run.announce(sentence)


def open_setup(run: Run, ranks: Ranks, device: torch.device) -> Setup:
    """Open what a rank trains a run with: its data, its task's logic, on rank 0 the way to its
    store. The network is built later.

    Raises:
        UserError: the training samples do not fill one step.
    """
    recipe = run.recipe
    manifest = read_manifest(run.shards, run.cache)
    logic = create(run.task, run.section, run.variant, manifest)
    network_macs = None
    if ranks.rank == 0:
        network_macs = macs(run.task, run.section, run.variant, manifest)

    train_reader = open_split(run.shards, "train", recipe.hold_out, run.cache)
    eval_reader = open_split(run.shards, recipe.evaluate_on, recipe.hold_out, run.cache)
    train_samples = TrainSamples(train_reader, logic.sampling, recipe, run.seed)
    eval_samples = EvalSamples(eval_reader, logic.sampling, logic.eval_batch)
    eval_batches = eval_loader(eval_samples, ranks, run.loader_workers)

    if train_samples.steps_per_epoch == 0:
        raise UserError(
            f"{run.variant}: {len(train_reader)} training samples do not fill one global batch of "
            f"{recipe.global_batch}; lower micro_batch or micro_batches"
        )

    uploads = uploads_of(run, run.announce) if ranks.rank == 0 else Uploads()
    return Setup(
        run,
        recipe,
        ranks,
        device,
        logic,
        train_samples,
        eval_samples,
        eval_batches,
        network_macs,
        uploads,
    )


def build_or_resume(setup: Setup) -> State:
    """Build the network and its optimizer, and take over the newest valid checkpoint, if any.

    The order matters: the seed decides the fresh weights; norms are replaced and the layout is
    changed before the optimizer takes hold of the parameters and the average copies them; given
    weights count only for a run without a checkpoint, whose own are loaded over them.
    """
    torch.manual_seed(seed_for("init", setup.run.seed))
    model = setup.logic.build().to(setup.device)
    if setup.recipe.sync_bn:
        model = _synchronised(model, setup)
    if setup.recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if setup.run.init_from is not None:
        _load_given(model, setup.run.init_from, setup)

    state = State.fresh(model, setup.recipe, setup.device)
    saved = _newest_checkpoint(setup)
    if saved is not None:
        state.load(saved)

    verb = "continues" if saved else "starts"
    ranks = f"{setup.ranks.world} rank{'s' if setup.ranks.world > 1 else ''}"
    setup.announce(f"{verb} at step {state.step} of {setup.total} on {ranks}")
    if setup.recipe.compile:
        model.compile()
    return state


def _load_given(model: nn.Module, path: Path, setup: Setup) -> None:
    """Load the weights to start from, and say which stay fresh."""
    weights = read_weights(
        path,
        setup.run.section.variants[setup.run.variant],
        setup.recipe.network_size or IMAGE_SIZE,
    )
    fresh = setup.logic.load_given(model, weights)
    setup.announce(f"starts from {path}" + (f", fresh: {', '.join(fresh)}" if fresh else ""))


def _synchronised(model: nn.Module, setup: Setup) -> nn.Module:
    """Let the batch norms see the whole global batch, which then is the same on any number of GPUs.

    Raises:
        UserError: a rank has more than one micro-batch of a step, so that its ranks would not see
            all at once.
    """
    if setup.device.type != "cuda":
        setup.announce("sync_bn is for GPUs; on this device the batch norms see their micro-batch")
        return model

    if setup.ranks.world != setup.recipe.micro_batches:
        raise UserError(
            f"{setup.run.variant}: sync_bn needs one worker for each of the "
            f"{setup.recipe.micro_batches} micro-batches, there are {setup.ranks.world}; make "
            "cluster.workers and micro_batches equal, or set sync_bn: false"
        )
    return model if setup.ranks.world == 1 else nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _newest_checkpoint(setup: Setup) -> dict[str, Any] | None:
    """Return the newest valid checkpoint's state.

    Rank 0 chooses and the others load what it names: each for itself could see another newest one,
    where a checkpoint is damaged or has not reached all machines, and the ranks would train
    different weights.
    """
    run = setup.run
    ranks = setup.ranks
    path = None
    saved = None
    chosen = None
    if ranks.rank == 0:
        checkpoint.clear_leftovers(run.checkpoints)
        setup.uploads.download_newest()
        path, saved, damaged = checkpoint.load_newest(run.checkpoints, setup.device)
        for sentence in damaged:
            setup.announce(sentence)
        chosen = None if path is None else setup.uploads.ensure_uploaded(path)

    path, chosen = broadcast((path, chosen), ranks)
    if ranks.rank and chosen is not None:
        path = fetch_chosen(run, chosen)
    return checkpoint.load(path, setup.device) if ranks.rank and path is not None else saved
