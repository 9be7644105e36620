"""Numbers over seeds: mean and spread, and differences of runs that share their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean over n values; the sample standard deviation from two values on."""

    mean: float
    sd: float | None
    n: int

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean."""
        return None if self.sd is None else self.sd / sqrt(self.n)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% t-interval of the mean; one value has none."""
        error = self.standard_error
        if error is None:
            return None
        # scipy.stats.t.ppf without the seconds that importing scipy.stats takes
        from scipy.special import stdtrit

        half = float(stdtrit(self.n - 1, (1 + CONFIDENCE) / 2)) * error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its 95% t-interval; one pair has no interval."""

    mean: float
    sd: float | None
    n: int
    interval: tuple[float, float] | None


def summarise(values: Sequence[float]) -> Summary:
    """Summarise one value a seed."""
    return Summary(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def paired_difference(left: Mapping[int, float], right: Mapping[int, float]) -> Difference | None:
    """Left minus right over the seeds that both have; None where they share none."""
    seeds = sorted(left.keys() & right.keys())
    if not seeds:
        return None
    summary = summarise([left[seed] - right[seed] for seed in seeds])
    return Difference(summary.mean, summary.sd, summary.n, summary.interval)
