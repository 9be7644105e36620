"""What the ranks of a training tell each other; all of them call each of these at one point.

Values of Python may be any that pickle. Flags are tensors on the device of the training, and are
overwritten.
"""

from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from pipeline.loading.micro_batches import Ranks

T = TypeVar("T")
DDP_OPTIONS: dict[str, Any] = {"find_unused_parameters": True, "broadcast_buffers": False}
"""What DDP is made with, so that it sums gradients in one order, restarted or not.

Looking for unused parameters keeps its buckets as they are; it otherwise rebuilds them after its
first step.
"""


def broadcast(value: T, ranks: Ranks) -> T:
    """Return rank 0's value on every rank."""
    shared = [value]
    if ranks.world > 1:
        dist.broadcast_object_list(shared)
    return shared[0]


def all_gather(value: T, ranks: Ranks) -> list[T]:
    """Return the values of all ranks, in their order."""
    values = [value] * ranks.world
    if ranks.world > 1:
        dist.all_gather_object(values, value)
    return values


def any_rank(flags: Tensor, ranks: Ranks) -> list[bool]:
    """Return for each of the flags, floats of 0 and 1, whether any rank has set it."""
    if ranks.world > 1:
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


def all_ranks(flags: Tensor, ranks: Ranks) -> list[bool]:
    """Return for each of the flags, floats of 0 and 1, whether all ranks have set it."""
    if ranks.world > 1:
        dist.all_reduce(flags, op=dist.ReduceOp.MIN)
    return [bool(flag) for flag in flags.tolist()]
