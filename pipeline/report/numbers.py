"""How numbers are written: percent with one decimal, M with two, G with three."""

from __future__ import annotations

from pipeline.report.claims import METRICS
from pipeline.report.statistics import Difference, Summary

NOTHING = "–"


def decimals(metric: str) -> int:
    """Decimals of a metric; one for a metric that the project does not know."""
    return METRICS[metric].decimals if metric in METRICS else 1


def label(metric: str) -> str:
    """Name of a metric."""
    return METRICS[metric].label if metric in METRICS else metric


def labelled(metric: str) -> str:
    """Name and unit of a metric."""
    unit = METRICS[metric].unit if metric in METRICS else ""
    return ", ".join(filter(None, (label(metric), unit)))


def value(metric: str, number: float | None) -> str:
    """Return a measured number."""
    return NOTHING if number is None else f"{number:,.{decimals(metric)}f}"


def spread(metric: str, summary: Summary | None) -> str:
    """Mean over seeds, and the standard deviation where there is one."""
    if summary is None:
        return NOTHING
    mean = value(metric, summary.mean)
    return mean if summary.sd is None else f"{mean} ± {value(metric, summary.sd)}"


def published(metric: str, number: float) -> str:
    """Return a published number with the decimals it was published with, one at least where it is a
    percentage.
    """
    text = f"{number:g}"
    integer = metric == "parameters_m" or (metric == "macs_g" and number >= 100)
    return text if "." in text or integer else f"{text}.0"


def signed(metric: str, number: float | None) -> str:
    """Return a difference with its sign; what rounds to nothing has none."""
    if number is None:
        return NOTHING
    text = f"{number:+.{decimals(metric)}f}"
    return text[1:] if float(text) == 0 else text


def interval(metric: str, difference: Difference) -> str:
    """Return the 95% interval of a difference, or that one seed gives none."""
    return "one seed" if difference.interval is None else ends(metric, difference.interval)


def ends(metric: str, interval: tuple[float, float]) -> str:
    """Return an interval of a difference."""
    low, high = interval
    return f"{signed(metric, low)} to {signed(metric, high)}"


def chance(difference: Difference | None) -> str:
    """Return in which share of seeds left beats right, and the p of flipped signs."""
    if difference is None or difference.sign_flip is None:
        return NOTHING
    return f"{100 * difference.beats:.0f}%, {difference.sign_flip:.3f}"


def speed(number: float | None) -> str:
    """Images a second, or megabytes: whole from 100 on."""
    if number is None:
        return NOTHING
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def seeds(number: int) -> str:
    """`1 seed`, `3 seeds`."""
    return count(number, "seed")


def count(number: float, thing: str) -> str:
    """`1 epoch`, `0.5 epochs`, `1,000 epochs`."""
    return f"{number:,.4g} {thing}{'' if number == 1 else 's'}"
