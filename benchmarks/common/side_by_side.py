"""Two ways to do one thing, timed in turns in one process, and the line that says what came out."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], object]


def interleaved(ours: Work, theirs: Work, rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of CPU time of each, taken in turns after one run of both."""
    spent: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for work, times in zip((ours, theirs), spent, strict=True):
            start = time.process_time()
            work()
            if number:
                times.append(1e3 * (time.process_time() - start))
    return statistics.median(spent[0]), statistics.median(spent[1])


def tell(
    figure: str,
    peer: str,
    times: tuple[float, float],
    goal: float | None,
    stretch: float | None,
    command: str,
    **more: Any,
) -> None:
    """Print one figure: how many times better than the peer it is, of (our, their) milliseconds."""
    ours, theirs = times
    line = {
        "figure": figure,
        "peer": peer,
        "ratio": round(theirs / ours, 3),
        "goal": goal,
        "stretch": stretch,
        "ours": round(ours, 2),
        "theirs": round(theirs, 2),
        "command": command,
    }
    print(json.dumps(line | more), flush=True)


def agree(name: str, got: Tensor, exact: Tensor, tolerance: float) -> None:
    """Refuse to time what is not right: the difference is over `tolerance` times the largest value.

    Raises:
        SystemExit: it is.
    """
    error = (got.detach().double() - exact.detach()).abs().max() / exact.abs().max()
    if not error <= tolerance:
        raise SystemExit(f"{name} is wrong: {error:.1e} of the largest value, {tolerance} is borne")


def one_thread() -> None:
    """Hold torch to one thread and one seed."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
