"""Aggregations on a GPU, forward and backward in bfloat16, against what others call for the sums.

7x7 windows on the maps of the four stages of a tiny network, 128 images. Values and gradients are
first held against float64. Prints one JSON line a figure, with the share of the measured copy
bandwidth that reading x, the weights and the gradients once and writing theirs would take.
`--device cpu` walks the code on small maps; its figures say nothing.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.common.gpu import Work, copy_bandwidth, device_asked, interleaved, peak_bytes
from benchmarks.common.side_by_side import agree, tell
from benchmarks.operators import Operator, convolved, grouped, step, unfolded
from models.aggregate import aggregate

SIZE = 7
STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))
BATCHES = (128, 64, 32)
ROUNDS, WARMUP = 20, 5
COMMAND = "make bench only=gpu_operators"
BORNE = 2**-6
GROUPS = 32
Peers = Mapping[str, tuple[Operator, float]]


def convolved_last(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve channels-last maps, which cuDNN takes."""
    return convolved(x.contiguous(memory_format=torch.channels_last), weight)


def check(name: str, operator: Operator, x: Tensor, weight: Tensor, direction: Tensor) -> None:
    few = [t[:2] if t.shape[0] > 1 else t for t in (x, weight, direction)]
    exact = [t.detach().double().requires_grad_(t is not few[2]) for t in few]
    inputs = [t.detach().requires_grad_(t is not few[2]) for t in few]
    for got, right in zip(step(operator, *inputs), step(unfolded, *exact), strict=True):
        agree(name, got, right, BORNE)


def measure(
    name: str,
    maps: tuple[int, int, int],
    weights: tuple[int, ...],
    peers: Peers,
    bandwidth: float,
    device: torch.device,
) -> None:
    """Time one kind of weights on the maps (batch, channels, side) of one stage."""
    batch, channels, side = maps
    x = torch.randn(batch, channels, side, side, device=device, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(weights, device=device, dtype=torch.bfloat16).requires_grad_()
    direction = torch.randn_like(x)
    moved = 2 * (3 * x.numel() + direction.numel() + 3 * weight.numel())
    figure = f"{name}, {batch} images, C {channels}, {side}², forward and backward, bf16"
    check(f"{figure} by the project", aggregate, x, weight, direction)
    for peer, (operator, goal) in peers.items():
        check(f"{figure} by {peer}", operator, x, weight, direction)
        works: list[Work] = [
            partial(step, each, x, weight, direction) for each in (aggregate, operator)
        ]
        ours, theirs = interleaved(works, device, ROUNDS, WARMUP)
        tell(
            figure,
            peer,
            (ours, theirs),
            goal,
            None,
            COMMAND,
            share_of_copy=round(moved / (ours / 1e3) / bandwidth, 3),
            megabytes=[round(peak_bytes(work, device) / 2**20) for work in works],
        )


def measure_stage(
    batch: int, channels: int, side: int, bandwidth: float, device: torch.device
) -> None:
    """Time all kinds of weights on one stage's maps."""
    maps = batch, channels, side
    taps = SIZE * SIZE
    native = {"F.conv2d, NCHW": (convolved, 4.0), "cuDNN, NHWC": (convolved_last, 1.2)}
    measure("static depth-wise", maps, (1, channels, taps, 1, 1), native, bandwidth, device)
    folded = {"grouped convolution, NCHW": (grouped, 4.0)}
    measure("per image", maps, (batch, channels, taps, 1, 1), folded, bandwidth, device)
    written = {"F.unfold": (unfolded, 10.0)}
    weights = batch, GROUPS, taps, side, side
    measure(f"per position, {GROUPS} groups", maps, weights, written, bandwidth, device)


def main() -> None:
    device = device_asked("Aggregations on a GPU against their peers.")
    bandwidth = copy_bandwidth(device)
    if device.type != "cuda":
        measure_stage(2, 32, 8, bandwidth, device)
        return
    for channels, side in STAGES:
        for batch in BATCHES:  # the largest that all of them hold in memory
            try:
                measure_stage(batch, channels, side, bandwidth, device)
                break
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
