"""The join of published and measured numbers, and what is said of each pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from pipeline.params import MIXER_FIELDS, Compare
from pipeline.params.registry import classifier
from pipeline.report.claims import COSTS, METRICS, Claim
from pipeline.report.numbers import seeds
from pipeline.report.results import Results, VariantResult
from pipeline.report.scale import profile_reasons, run_reasons, small_because
from pipeline.report.statistics import Summary, summarise

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNSETTLED = "not settled"
NOT_RUN = "not run"
SMALL = "small-scale run"
COMPARED = "compared"
UNCLAIMED = "no published number"

# Counted, not trained: parameters are published rounded to 1 M, MACs to 0.1 G and with
# norms and biases.
COUNT_TOLERANCE = {"parameters_m": 0.5, "macs_g": 0.1}
PAPER_KERNEL = 7
UNSAID = {"kernel_size": PAPER_KERNEL, "mlp_ratio": 4.0, "skeleton": "attention"}
"""What the paper's networks have without saying so."""


@dataclass(frozen=True)
class Judged:
    """A claim beside a variant; either may be missing."""

    task: str
    metric: str
    verdict: str
    claim: Claim | None = None
    result: VariantResult | None = None
    measured: Summary | None = None
    best: float | None = None
    delta: float | None = None
    tolerance: float | None = None
    reasons: tuple[str, ...] = ()
    todo: str = ""


def judge_all(claims: list[Claim], results: Results, compare: Compare) -> list[Judged]:
    """One entry per claim and matching variant, per claim without one, and per variant without a
    claim.
    """
    judged: list[Judged] = []
    joined: set[tuple[str, str]] = set()
    for claim in claims:
        matching = [result for result in results.of(claim.row.task) if matches(claim, result)]
        joined.update((result.task, result.name) for result in matching)
        judged.extend(judge(claim, result, compare) for result in matching)
        if not matching:
            judged.append(Judged(claim.row.task, claim.metric, NOT_RUN, claim, todo=_wanted(claim)))

    judged.extend(
        _unclaimed(result)
        for result in results.variants
        if (result.task, result.name) not in joined
    )

    return judged


def matches(claim: Claim, result: VariantResult) -> bool:
    """Whether a variant is the claim's network, or its micro stand-in."""
    row = claim.row
    variant = result.variant
    metrics = result.metrics

    # What was trained, should the parameters have changed since.
    trained = metrics or variant
    mixer = trained.mixer
    size = trained.size
    overrides = trained.overrides
    model = metrics.model if metrics else variant.model_name

    if mixer == "timm":
        return row.timm_name is not None and model == f"timm:{row.timm_name}"
    if row.mixer is None or mixer != row.mixer:
        return False
    if size == "micro":
        return row.size == "tiny" and _block(overrides) == _block(row.overrides)
    return size == row.size and _network(overrides) == _network(row.overrides)


def judge(claim: Claim, result: VariantResult, compare: Compare) -> Judged:
    """Say what one variant says about one claim."""
    measured, best, reasons, todo = _measure(claim, result)
    if measured is None:
        return Judged(result.task, claim.metric, NOT_RUN, claim, result, todo=todo)

    unjudged = Judged(
        result.task, claim.metric, SMALL, claim, result, measured, best, reasons=reasons
    )
    if reasons:
        return unjudged

    tolerance = compare.tolerance.get(claim.metric, COUNT_TOLERANCE.get(claim.metric))
    verdict, why = _verdict(claim, measured, tolerance, compare.least_seeds)
    delta = measured.mean - claim.value
    return Judged(
        result.task, claim.metric, verdict, claim, result, measured, best, delta, tolerance, why
    )


def measured_value(result: VariantResult, metric: str) -> Summary | None:
    """Return a metric over the seeds of a run, at the last evaluation."""
    if result.metrics is None or any(metric not in row.last for row in result.metrics.seeds):
        return None
    return summarise([row.last[metric] for row in result.metrics.seeds])


def best_value(result: VariantResult, metric: str) -> float | None:
    """Mean over the seeds of the metric where the main metric was best."""
    if result.metrics is None or any(metric not in row.peak for row in result.metrics.seeds):
        return None
    return summarise([row.peak[metric] for row in result.metrics.seeds]).mean


def _verdict(
    claim: Claim, measured: Summary, tolerance: float | None, least: int
) -> tuple[str, tuple[str, ...]]:
    """Judge the interval over seeds against the tolerance on both sides of the published number.

    Inside it is reproduced, outside it is not; a wider interval can only make it less settled.
    """
    if not claim.published:
        return COMPARED, ("recalled, not checked",)
    if claim.metric == "images_per_second":
        return COMPARED, ("on other hardware",)
    if tolerance is None:
        return COMPARED, (f"no tolerance given for {claim.metric}",)

    counted = claim.metric in COSTS
    low, high = (measured.mean,) * 2 if counted else measured.interval or (-inf, inf)
    away = [claim.value - high, low - claim.value]
    within = tolerance + 1e-9  # the published decimals are not exact in binary

    if max(away) > within:
        return NOT_REPRODUCED, ()
    if not counted and measured.n < least:
        return UNSETTLED, (f"{seeds(measured.n)}, it takes {least}",)
    if -min(away) <= within:
        return REPRODUCED, ()
    return UNSETTLED, ("its interval is not inside the tolerance",)


def _measure(
    claim: Claim, result: VariantResult
) -> tuple[Summary | None, float | None, tuple[str, ...], str]:
    """Return the measured number, its best, why it is small, and what to do where there is none."""
    if claim.metric in COSTS:
        return (*_measure_cost(claim, result),)

    train = f"`{result.again(result.stage)}`"
    if result.metrics is None:
        return None, None, (), train

    measured = measured_value(result, claim.metric)
    if measured is None:
        return None, None, (), f"the run does not measure {METRICS[claim.metric].label}"
    return measured, best_value(result, claim.metric), run_reasons(result.metrics, claim), ""


def _measure_cost(
    claim: Claim, result: VariantResult
) -> tuple[Summary | None, None, tuple[str, ...], str]:
    """Costs come from the profile; with a detector's or segmenter's head only the run itself knows
    the parameters.
    """
    if result.task != classifier():
        if claim.metric != "parameters_m":
            return None, None, (), "not measured with the head of this task"
        if result.metrics is None:
            return None, None, (), f"`{result.again(result.stage)}`"
        return summarise([result.metrics.parameters / 1e6]), None, small_because(result.metrics), ""

    profile = result.profile
    if profile is None:
        return None, None, (), f"`{result.again(f'profile@{result.name}')}`"

    value = {
        "parameters_m": profile.parameters / 1e6,
        "macs_g": profile.macs / 1e9,
        "images_per_second": profile.inference_images_per_second,
    }[claim.metric]
    return summarise([value]), None, profile_reasons(profile, result.variant.size, claim), ""


def _block(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a block another one."""
    kept = {
        name: overrides[name]
        for name in (*MIXER_FIELDS, "mlp_ratio")
        if overrides.get(name) is not None
    }
    return {name: value for name, value in kept.items() if UNSAID.get(name) != value}


def _network(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a network another one."""
    shape = {name: list(overrides[name]) for name in ("depths", "num_heads") if overrides.get(name)}
    width = {name: overrides[name] for name in ("embed_dim",) if overrides.get(name)}
    return {**_block(overrides), **shape, **width}


def _wanted(claim: Claim) -> str:
    """Say which variant would stand beside a claim."""
    row = claim.row
    by_mixer = {"mixer": row.mixer, "size": row.size, **row.overrides} if row.mixer else {}
    by_timm = {"mixer": "timm", "timm_name": row.timm_name} if row.timm_name else {}
    fields = by_mixer or by_timm
    if not fields:
        return "no counterpart in this project"

    text = ", ".join(f"{key}: {value}" for key, value in fields.items())
    return f"no variant `{{{text}}}` in {row.task}.variants"


def _unclaimed(result: VariantResult) -> Judged:
    """Return a variant that no published row describes."""
    if result.metrics is None:
        return Judged(
            result.task, "", NOT_RUN, result=result, todo=f"`{result.again(result.stage)}`"
        )

    metric = result.metrics.main_metric
    verdict = SMALL if small_because(result.metrics) else UNCLAIMED
    return Judged(
        result.task,
        metric,
        verdict,
        result=result,
        measured=measured_value(result, metric),
        best=best_value(result, metric),
        reasons=small_because(result.metrics),
    )
