"""Timing on a GPU, and what its memory can do."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch

Work = Callable[[], object]
ABSENT = "there is no GPU here"


def device_asked(description: str) -> torch.device:
    """Return the device to measure on: the GPU, or what `--device` names, to walk the code.

    Raises:
        SystemExit: there is no GPU, and nothing else was asked for.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(ABSENT)
    torch.manual_seed(0)
    return device


def milliseconds(work: Work, device: torch.device) -> float:
    """Return how long one call takes, with all that it started."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - start)
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    work()
    ended.record()
    torch.cuda.synchronize(device)
    return float(begun.elapsed_time(ended))


def interleaved(works: list[Work], device: torch.device, rounds: int, warmup: int) -> list[float]:
    """Return the median milliseconds of each, taken in turns after some runs of all."""
    for _ in range(warmup):
        for work in works:
            work()
    spent = [[milliseconds(work, device) for work in works] for _ in range(rounds)]
    return [statistics.median(times) for times in zip(*spent, strict=True)]


def peak_bytes(work: Work, device: torch.device) -> int:
    """Return the most memory that a call held beyond what was held before; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device) - before)


def copy_bandwidth(device: torch.device) -> float:
    """Return bytes a second, read and written, of a copy too large for any cache."""
    count = 2**28 if device.type == "cuda" else 2**24
    source = torch.empty(count, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    (taken,) = interleaved([lambda: target.copy_(source)], device, rounds=10, warmup=3)
    return 2 * source.numel() * source.element_size() / (taken / 1e3)
