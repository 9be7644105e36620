"""Numbers over seeds and over images: mean and spread, and differences of runs that share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING

from pipeline.report.gate import detectable

if TYPE_CHECKING:
    from numpy import bool_
    from numpy.typing import NDArray

    Right = NDArray[bool_]

CONFIDENCE = 0.95
RESAMPLES = 9_999


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
    """Mean of paired differences with its 95% t-interval; one pair has no interval.

    `p` is that of the paired t-test, `sign_flip` that of the exact permutation test, which flips
    signs and needs no distribution. `beats` is the share of seeds in which left is above right, an
    estimate of the probability that left beats right; a tie counts as half.
    """

    mean: float
    sd: float | None
    n: int
    interval: tuple[float, float] | None
    p: float | None
    sign_flip: float | None
    beats: float

    @property
    def detectable(self) -> float | None:
        """The true difference that as many seeds of this scatter tell from zero in 80% of
        repetitions.
        """
        if self.sd is None:
            return None
        return detectable(1, self.n - 1, 1) * self.sd / sqrt(self.n)


@dataclass(frozen=True)
class OverImages:
    """A paired difference and the sampling of the images that it was measured on.

    `interval` is a paired bootstrap over images, with the seeds as they are; `both` is over images
    and seeds together, and `p` that of the t-test with it, each None for one seed.
    """

    images: int
    interval: tuple[float, float]
    both: tuple[float, float] | None
    p: float | None = None


def summarise(values: Sequence[float]) -> Summary:
    """Summarise one value a seed."""
    return Summary(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def paired_difference(left: Mapping[int, float], right: Mapping[int, float]) -> Difference | None:
    """Left minus right over the seeds that both have; None where they share none."""
    seeds = sorted(left.keys() & right.keys())
    if not seeds:
        return None

    differences = [left[seed] - right[seed] for seed in seeds]
    summary = summarise(differences)
    return Difference(
        summary.mean,
        summary.sd,
        summary.n,
        summary.interval,
        _t_test(summary),
        _sign_flip(differences),
        fmean((value > 0) + (value == 0) / 2 for value in differences),
    )


def over_images(
    left: Mapping[int, Right], right: Mapping[int, Right], difference: Difference
) -> OverImages | None:
    """Return how far a difference of accuracies in percent hangs on the images.

    Args:
        left: whether each image was right (images,), by seed.
        right: the same of the other side, for the same images in the same order.
        difference: that of the accuracies, over the same seeds.
    """
    import numpy as np
    from scipy.special import stdtr, stdtrit

    seeds = sorted(left.keys() & right.keys())
    if (
        len(seeds) != difference.n
        or len({len(side[s]) for side in (left, right) for s in seeds}) != 1
    ):
        return None

    points = 100 * np.array([left[seed].astype(float) - right[seed] for seed in seeds])
    images = points.shape[1]
    values, counts = np.unique(points.mean(0), return_counts=True)

    # Drawing images with replacement is drawing how often each value comes.
    draws = np.random.default_rng(0).multinomial(images, counts / images, size=RESAMPLES)
    means = draws @ values / images
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])

    if difference.sd is None:
        return OverImages(images, (float(low), float(high)), None)

    of_seeds = difference.sd**2 / difference.n
    # What seeds do to single images is in the scatter over seeds already.
    shared = points.var(0, ddof=1).mean() / difference.n / images
    together = of_seeds + max(float(means.var() - shared), 0.0)
    freedom = (difference.n - 1) * (together / of_seeds) ** 2 if of_seeds else inf  # Satterthwaite
    freedom = min(freedom, 1e9)
    error = sqrt(together)
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    both = (difference.mean - half, difference.mean + half)
    p = 2 * float(stdtr(freedom, -abs(difference.mean) / error)) if error else None

    return OverImages(images, (float(low), float(high)), both, p)


def best_by_luck(
    settings: Sequence[Sequence[float]], tried: int, images: int | None
) -> float | None:
    """Return how far above the mean of equal settings the best of them would lie by luck.

    Args:
        settings: the values over seeds of each setting.
        tried: how many settings the best is chosen from.
        images: on how many the values, then percentages of right ones, were taken; None where they
            are no such percentages. Settings see the same images, so that this counts too much of
            their sampling rather than too little.

    Returns:
        The expected maximum of as many draws from a normal distribution; None where nothing says
        how much values scatter.
    """
    from scipy import stats

    freedom = sum(len(values) - 1 for values in settings)
    variances = [(len(values) - 1, variance(values)) for values in settings if len(values) > 1]
    pooled = sum(weight * of_seeds for weight, of_seeds in variances) / freedom if freedom else 0.0
    spread = pooled * fmean(1 / len(values) for values in settings)

    if images:
        mean = fmean(fmean(values) for values in settings)
        spread += mean * (100 - mean) / images
    elif not freedom:
        return None

    return float(stats.order_statistic(stats.Normal(), r=tried, n=tried).mean()) * sqrt(spread)


def _t_test(summary: Summary) -> float | None:
    """Return the two-sided p of a mean; None where nothing scatters."""
    from scipy.special import stdtr

    error = summary.standard_error
    return 2 * float(stdtr(summary.n - 1, -abs(summary.mean) / error)) if error else None


def _sign_flip(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of a mean among those with any signs flipped: all of them up to 13
    seeds, else as many drawn.
    """
    if len(differences) < 2:
        return None
    from numpy.random import default_rng
    from scipy.stats import permutation_test

    test = permutation_test(
        (differences,),
        fmean,
        permutation_type="samples",
        vectorized=False,
        n_resamples=RESAMPLES,
        rng=default_rng(0),
    )
    return float(test.pvalue)
