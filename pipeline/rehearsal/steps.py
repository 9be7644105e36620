"""The steps themselves, taken in a process that stays for the next training and is replaced where
it dies.
"""

import itertools
import json
import math
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipeline.core import watchdog
from pipeline.core.errors import UserError
from pipeline.params.registry import classifier, tasks
from pipeline.rehearsal.places import WalkItem
from pipeline.rehearsal.small import MORE, STEPS, small
from pipeline.runs.run import Run


@dataclass(frozen=True)
class StepsTaken:
    """How a training ended: `error` is the sentence about what went wrong, or None."""

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    metric: str = ""
    value: float | None = None
    seconds: float = 0.0
    error: str | None = None


class Process:
    """A process that takes steps, one training at a time."""

    def __init__(self) -> None:
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, get_context("spawn"), watchdog.follow, (os.getpid(),))

    def take(self, place: WalkItem, shards: Path, scratch: Path) -> StepsTaken:
        """Train a place for `STEPS` steps on shards; a process that dies is that training's
        error.
        """
        try:
            return self._pool.submit(take, place, shards, scratch).result()
        except BrokenProcessPool:
            self._pool = self._new()
            return StepsTaken(error="its process was killed; is there enough memory?")

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def take(place: WalkItem, shards: Path, scratch: Path) -> StepsTaken:
    """Train a place in this process as a single rank does, from the first step to the sealed
    run.
    """
    began = time.monotonic()
    try:
        outcome = _taken(place, shards, scratch)
    except Exception as error:  # whatever it is, it belongs into the table
        outcome = StepsTaken(error=sentence_of(error))
    return replace(outcome, seconds=time.monotonic() - began)


def sentence_of(error: Exception) -> str:
    """Return an error in one line."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _taken(place: WalkItem, shards: Path, scratch: Path) -> StepsTaken:
    import torch

    from pipeline.cluster.workers import prepare_process
    from pipeline.loading.micro_batches import Ranks
    from pipeline.training.loop import evaluations

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prepare_process(device, torch.get_num_threads())
    start = _start(place, scratch)

    try:
        run = _fitting(place, shards, scratch / "run", start)
        for _ in evaluations(run, Ranks(), device, lambda model: model):
            pass
        return outcome_of(run)
    finally:
        shutil.rmtree(scratch / "run", ignore_errors=True)


def _fitting(place: WalkItem, shards: Path, folder: Path, start: Path | None) -> Run:
    """Return the run in the smallest micro-batch that its network can be trained with."""
    from pipeline.cluster.fitting import refuse_untrainable_run
    from pipeline.shards.manifest import Manifest

    for images in range(tasks()[place.task].least_images, MORE + 1):
        little = small(place, images)
        run = Run(
            little.decides,
            little.task,
            little.variant,
            0,
            little.section,
            shards,
            folder,
            init_from=start,
        )

        try:
            refuse_untrainable_run(run, Manifest.load(shards))
        except UserError:
            if images == MORE:
                raise
            continue
        break
    return run


def _start(place: WalkItem, scratch: Path) -> Path | None:
    """Return the weights that a place starts from; those of a classifier are fresh, in the form
    that one publishes.
    """
    source = place.section.recipe_of(place.variant).init_from
    if source is None or source != classifier():
        return None if source is None else Path(source)
    import torch
    from safetensors.torch import save_file

    import models

    entry = place.section.variants[place.variant]
    path = scratch / "start.safetensors"

    torch.manual_seed(0)
    weights = models.create_model(entry.model_name, num_classes=10, **entry.overrides).state_dict()
    path.unlink(missing_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def outcome_of(run: Run) -> StepsTaken:
    """Return what a finished run says of itself; a step that was passed over is an error."""
    record = run.finished()
    if record is None:
        return StepsTaken(error="it ended without being finished")

    last: dict[str, Any] = record["history"][-1]
    metric = record["main_metric"]
    outcome = StepsTaken(last["step"], _losses(run), metric, last[metric])
    if outcome.steps != STEPS or record.get("skipped_steps"):
        return replace(
            outcome, error=f"{record.get('skipped_steps')} of {STEPS} steps were passed over"
        )
    if not all(map(math.isfinite, outcome.losses)):
        return replace(outcome, error="a loss is not finite")
    return outcome


def _losses(run: Run) -> list[float]:
    """Return the loss of each step, from the means that a run's progress tells."""
    lines = [json.loads(line) for line in run.progress.read_text().splitlines()]
    means = [line["loss"] for line in lines if line.get("loss") is not None]
    totals = [0.0, *(mean * count for count, mean in enumerate(means, 1))]
    return [after - before for before, after in itertools.pairwise(totals)]
