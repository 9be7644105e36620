"""Running statistics mean the same however micro-batches are divided."""

import pytest
import torch
from torch import nn

from pipeline.training import batchnorm


def run(norm: nn.BatchNorm1d, batches: list[torch.Tensor]) -> None:
    norms = vars(norm).setdefault("kept", batchnorm.norms_of(norm))
    for index, batch in enumerate(batches):
        batchnorm.set_momentum(norms, index, len(batches))
        norm(batch)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_step_moves_towards_the_mean_of_its_micro_batches(count: int) -> None:
    batches = list(torch.randn(count, 16, 5, dtype=torch.float64))
    norm = nn.BatchNorm1d(5, dtype=torch.float64)
    assert norm.running_mean is not None
    before = norm.running_mean.normal_().clone()
    run(norm, batches)
    expected = 0.9 * before + 0.1 * torch.stack([batch.mean(0) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected)


def test_the_mean_over_two_ranks_is_one_rank_with_all() -> None:
    steps = [list(torch.randn(4, 16, 5, dtype=torch.float64)) for _ in range(6)]
    whole, ranks = (
        nn.BatchNorm1d(5, dtype=torch.float64),
        [nn.BatchNorm1d(5, dtype=torch.float64) for _ in range(2)],
    )
    for batches in steps:
        run(whole, batches)
        for rank, norm in enumerate(ranks):
            run(norm, batches[rank::2])
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(norm, name) for norm in ranks]).mean(0)
        torch.testing.assert_close(mean, getattr(whole, name))
