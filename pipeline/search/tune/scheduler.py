"""Which trials go on: all of them to their end, or by asynchronous successive halving (ASHA, arXiv
1810.05934).

Ray's own scheduler decides. It is told of the trials of an earlier, interrupted command first, so
that those which come after are judged as if there had been no interruption.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.params.searches import Asha


@dataclass(frozen=True)
class Past:
    """A trial that ended before; Ray's scheduler asks for nothing but its id."""

    trial_id: str


def asha(
    numbers: Asha,
    metric: str,
    mode: str,
    total: float,
    past: Iterable[tuple[str, list[dict[str, Any]]]],
) -> Any:
    """Return Ray's scheduler.

    Args:
        numbers: rungs and time attribute.
        metric: what trials are compared by.
        mode: min or max.
        total: the time attribute at the end of a trial; a rung there would stop what is finished.
        past: id and evaluations of each trial that ended before, in the order in which they ended.
    """
    from ray.tune.schedulers import AsyncHyperBandScheduler

    scheduler = AsyncHyperBandScheduler(
        time_attr=numbers.time_attribute,
        metric=metric,
        mode=mode,
        max_t=max(total * (1 - 1e-6), numbers.grace),
        grace_period=numbers.grace,
        reduction_factor=numbers.reduction,
        stop_last_trials=False,
    )

    # Tune cannot restore the rungs of a search that was killed; its past is played to them again
    for identifier, rows in past:
        trial: Any = Past(identifier)
        scheduler.on_trial_add(None, trial)
        for row in rows:
            scheduler.on_trial_result(None, trial, row)

    return scheduler
