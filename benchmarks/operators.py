"""Aggregations, forward and backward, against what others call for the same sums.

One thread, CPU time, batch of 4, 7x7 windows on 96 channels of 56x56, float32. Values and gradients
are first held against float64. Prints one JSON line a figure, for the plain and the native kernels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.common.side_by_side import agree, interleaved, one_thread, tell
from models.aggregate import aggregate, kernels

BATCH, CHANNELS, SIDE, SIZE = 4, 96, 56, 7
ROUNDS = 9
COMMAND = "make bench only=operators"
Operator = Callable[[Tensor, Tensor], Tensor]


def convolved(x: Tensor, weight: Tensor) -> Tensor:
    """One kernel a channel: a convolution with as many groups as channels."""
    return F.conv2d(x, weight.view(-1, 1, SIZE, SIZE), padding=SIZE // 2, groups=x.shape[1])


def grouped(x: Tensor, weight: Tensor) -> Tensor:
    """One kernel a channel and image: the batch folded into the groups of a convolution."""
    batch, channels, height, width = x.shape
    kernels = weight.reshape(batch * channels, 1, SIZE, SIZE)
    folded = x.reshape(1, batch * channels, height, width)
    return F.conv2d(folded, kernels, padding=SIZE // 2, groups=batch * channels).view_as(x)


def unfolded(x: Tensor, weight: Tensor) -> Tensor:
    """Any weights: every window written out, multiplied and summed."""
    batch, _, height, width = x.shape
    windows = F.unfold(x, SIZE, padding=SIZE // 2)
    windows = windows.view(batch, weight.shape[1], -1, SIZE * SIZE, height, width)
    return (weight.unsqueeze(2) * windows).sum(dim=3).view_as(x)


@dataclass(frozen=True)
class Case:
    """One operator: the shape of its weights, how the network lays x out, and whom it is beside."""

    name: str
    weight: tuple[int, ...]
    layout: torch.memory_format
    peer: str
    theirs: Operator
    goal: float
    stretch: float


TAPS = SIZE * SIZE
CASES = [
    Case(
        "static depth-wise",
        (1, CHANNELS, TAPS, 1, 1),
        torch.channels_last,
        "F.conv2d, NCHW",
        convolved,
        3.5,
        5.5,
    ),
    Case(
        "per image",
        (BATCH, CHANNELS, TAPS, 1, 1),
        torch.channels_last,
        "grouped convolution, NCHW",
        grouped,
        3,
        5,
    ),
    *(
        Case(
            f"per position, {groups} groups",
            (BATCH, groups, TAPS, SIDE, SIDE),
            torch.contiguous_format,
            "F.unfold",
            unfolded,
            goal,
            stretch,
        )
        for groups, goal, stretch in ((3, 15, 21), (32, 7, 10))
    ),
]


def step(operator: Operator, x: Tensor, weight: Tensor, direction: Tensor) -> list[Tensor]:
    """Return the value and both gradients."""
    y = operator(x, weight)
    return [y, *torch.autograd.grad(y, (x, weight), direction)]


def check(case: Case, ours: Operator, x: Tensor, weight: Tensor, direction: Tensor) -> None:
    """Hold both ways against the sum over written-out windows in float64, on the first images."""
    few = [t[:2] if t.shape[0] > 1 else t for t in (x, weight, direction)]
    exact_inputs = [t.detach().double().requires_grad_(t is not few[2]) for t in few]
    exact = step(unfolded, *exact_inputs)
    for operator, who in ((ours, "the project"), (case.theirs, case.peer)):
        inputs = [t.detach().requires_grad_(t is not few[2]) for t in few]
        for got, right in zip(step(operator, *inputs), exact, strict=True):
            agree(f"{case.name} by {who}", got, right, 1e-6)


def measure(case: Case, choice: str) -> None:
    def ours(x: Tensor, weight: Tensor) -> Tensor:
        with kernels(choice):
            return aggregate(x, weight)

    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE, requires_grad=True)
    weight = torch.randn(case.weight, requires_grad=True)
    direction = torch.randn_like(x)
    check(case, ours, x, weight, direction)
    laid_out = x.detach().contiguous(memory_format=case.layout).requires_grad_()
    back = direction.contiguous(memory_format=case.layout)
    times = interleaved(
        lambda: step(ours, laid_out, weight, back),
        lambda: step(case.theirs, x, weight, direction),
        ROUNDS,
    )
    goal = case.goal if choice == "native" else None
    stretch = case.stretch if choice == "native" else None
    figure = f"{case.name}, C {CHANNELS}, {SIDE}², forward and backward, fp32, {choice} kernels"
    tell(figure, case.peer, times, goal, stretch, COMMAND, rounds=ROUNDS)


def main() -> None:
    one_thread()
    for case in CASES:
        for choice in ("native", "plain"):
            measure(case, choice)


if __name__ == "__main__":
    main()
