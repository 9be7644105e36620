"""The training loop on several ranks of this machine without Ray, in double precision, where
rounding is no excuse.
"""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pipeline.loading.micro_batches import Ranks
from pipeline.runs.run import Run
from pipeline.tasks.classify.logic import Classification
from pipeline.training.collectives import DDP_OPTIONS
from pipeline.training.loop import Wrap, evaluations

STOPPED = 3
LIMIT_S = 200
ALONE = Ranks()
CPU = torch.device("cpu")


def train(
    run: Run,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    ranks: Ranks = ALONE,
    wrap: Wrap = lambda model: model,
) -> None:
    """Train a run to its end on the CPU; what `report` raises in an evaluation leaves it there."""
    with closing(evaluations(run, ranks, CPU, wrap)) as rows:
        for row in rows:
            report(row)


def train_on(world: int, run: Run, stop_at: int | None = None) -> None:
    """Train a run on `world` ranks, to its end or until all ranks end in the evaluation of step
    `stop_at`.

    The other ranks see an empty folder, as a node may that a shared folder is slow on: they go by
    what rank 0 tells.
    """
    if world == 1:
        with pytest.raises(SystemExit) if stop_at else nullcontext():
            _train(Ranks(), run, stop_at)
        return
    meeting = run.folder.with_name(f"{run.folder.name}-{world}-{stop_at}")
    meeting.parent.mkdir(parents=True, exist_ok=True)
    seen = [run, *[replace(run, folder=run.folder.with_name("unseen"))] * (world - 1)]
    processes = [
        multiprocessing.get_context("spawn").Process(
            target=_rank, args=(Ranks(rank, world), meeting, seen[rank], stop_at)
        )
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + LIMIT_S
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
    assert [process.exitcode for process in processes] == [STOPPED if stop_at else 0] * world


def _rank(ranks: Ranks, meeting: Path, run: Run, stop_at: int | None) -> None:
    warnings.simplefilter("ignore")
    if run.stored is not None:  # every rank on a machine of its own
        os.environ["XDG_CACHE_HOME"] += f"/node{ranks.rank}"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=ranks.rank, world_size=ranks.world
    )
    _train(ranks, run, stop_at)


def _train(ranks: Ranks, run: Run, stop_at: int | None) -> None:
    def report(row: dict[str, Any]) -> None:
        if row["step"] == stop_at:
            raise SystemExit(STOPPED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "build", _in_double(Classification.build))
        train(run, report, ranks, _wrap if ranks.world > 1 else lambda model: model)


def _wrap(model: torch.nn.Module) -> torch.nn.Module:
    return DistributedDataParallel(model, **DDP_OPTIONS)


def _in_double(build: Any) -> Any:
    def built(self: Classification) -> torch.nn.Module:
        model: torch.nn.Module = build(self).double()
        model.register_forward_pre_hook(lambda _, images: (images[0].double(),))
        return model

    return built
