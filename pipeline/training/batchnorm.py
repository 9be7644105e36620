"""Batch norm whose running statistics mean the same on any number of ranks.

In a step, the running statistics move towards the mean of the micro-batches' statistics:
r <- (1 - m) r + m/n * sum of s_i. On one rank the n updates come one after the other; the momenta
m_j = (m/n) / (1 - (n - j) m/n) make their product exactly that. Over ranks the result is linear in
the statistics, so averaging the ranks' running statistics gives what one rank with all the
micro-batches would have.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def norms_of(model: nn.Module) -> list[tuple[_BatchNorm, float]]:
    """Return the batch norms that keep running statistics, each with its momentum."""
    norms = (m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats)
    return [(norm, 0.1 if norm.momentum is None else norm.momentum) for norm in norms]


def statistics_of(norms: Iterable[tuple[_BatchNorm, float]]) -> list[torch.Tensor]:
    """Return the running means and variances themselves, not copies."""
    return [
        statistic
        for norm, _ in norms
        for statistic in (norm.running_mean, norm.running_var)
        if statistic is not None
    ]


def set_momentum(norms: Iterable[tuple[_BatchNorm, float]], index: int, count: int) -> None:
    """Set the momentum for micro-batch `index` (from 0) of the `count` that this rank sees in a
    step.
    """
    for norm, momentum in norms:
        share = momentum / count
        norm.momentum = share / (1 - (count - index - 1) * share)


def average_over_ranks(models: Iterable[nn.Module], world: int, steps: int) -> None:
    """Replace running statistics by their mean over ranks, and the counters by the number of
    steps.
    """
    norms = [norm for model in models for norm, _ in norms_of(model)]
    for norm in norms:
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(steps)

    if world == 1 or not norms:
        return

    statistics = [
        s for norm in norms for s in (norm.running_mean, norm.running_var) if s is not None
    ]
    flat = torch.cat([s.reshape(-1) for s in statistics])
    dist.all_reduce(flat)
    flat /= world

    for statistic, mean in zip(
        statistics, flat.split([s.numel() for s in statistics]), strict=True
    ):
        statistic.copy_(mean.view_as(statistic))
