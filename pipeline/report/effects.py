"""What each factor of a factorial design does to a metric: main effects and interactions over
paired seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import isfinite, sqrt
from typing import Any

from pipeline.core.errors import UserError
from pipeline.report.factors import (
    CELLS,
    COMPARISONS,
    EXACT,
    FACTORS,
    Comparison,
    Estimator,
    FactorCell,
    FactorDesign,
    Groups,
    Model,
)
from pipeline.report.statistics import CONFIDENCE

LEVEL, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Observation:
    """One finished run of a cell: the metric's value with a seed."""

    setting: str
    seed: int
    value: float
    shared_positions: bool
    channel_groups: Groups
    dynamic: bool

    @property
    def cell(self) -> FactorCell:
        """The combination of levels that was run."""
        return FactorCell(self.shared_positions, self.channel_groups, self.dynamic)


@dataclass(frozen=True)
class Effect:
    """A difference of means, in points of the metric, or in `refused` the reason why there is none.

    `low` and `high` are the ends of its interval, `p` is that of the two-sided t-test, `p_adjusted`
    Holm's over all effects that are stated. `detectable` is the true effect that such a test at 5%
    finds in 80% of repetitions, `runs` the number of runs that the estimate is made of. `assumes`
    names interactions that are taken to be none because cells are missing; `misfit` is the p of the
    F-test of that, None where the cells that were run cannot tell.
    """

    name: str
    factors: tuple[str, ...]
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    runs: int = 0
    assumes: tuple[str, ...] = ()
    misfit: float | None = None
    refused: str = ""

    @property
    def assumption(self) -> str:
        """A sentence on what has to hold; empty where nothing has."""
        if not self.assumes:
            return ""
        doubt = self.misfit is not None and self.misfit < LEVEL
        against = ", and the runs there are speak against that" if doubt else ""
        return f"Holds if there is no interaction {', nor '.join(self.assumes)}{against}."


@dataclass(frozen=True)
class Analysis:
    """Every effect, stated or refused, and what they stand on.

    `residual_sd` is the scatter of a cell over seeds after each seed's own level is taken out, with
    `freedom` degrees of freedom. `missing` are cells without runs among the levels that were run,
    `unrun` levels without runs at all; means are over the levels that were run.
    """

    effects: tuple[Effect, ...]
    observations: tuple[Observation, ...]
    confidence: float
    residual_sd: float | None
    freedom: int
    missing: tuple[FactorCell, ...]
    unrun: tuple[str, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were run."""
        return tuple(sorted({one.seed for one in self.observations}))


def analyse(observations: Iterable[Observation], confidence: float = CONFIDENCE) -> Analysis:
    """Estimate all effects by ordinary least squares with a block effect for each seed.

    The scatter is taken to be the same in every cell; main effects and interactions of two-level
    factors stand up to cells that differ in it, pairs of channel groups less so. The order of the
    observations does not matter.

    Raises:
        UserError: a cell was run twice with a seed, two settings are one cell, a setting is two
            cells, or a value is not a finite number.
    """
    runs = _checked(observations)
    design = FactorDesign((run.cell, run.seed) for run in runs)
    fits = {model: _fit(model, [run.value for run in runs]) for model in design.models}
    effects = [_effect(comparison, design, fits, confidence) for comparison in COMPARISONS]
    freedom = design.models[0].freedom if runs else 0
    return Analysis(
        effects=_adjusted(effects),
        observations=tuple(runs),
        confidence=confidence,
        residual_sd=sqrt(fits[design.models[0]].scale) if freedom else None,
        freedom=freedom,
        missing=design.missing,
        unrun=tuple(
            words[x] for at, words in FACTORS.items() for x in words if x not in design.levels[at]
        ),
    )


def detectable_before(
    sd: float, seeds: int, cells: Sequence[FactorCell] = CELLS
) -> dict[str, float]:
    """Return the smallest effect found in 80% of repetitions at 5%, by name, before anything is
    run.

    Args:
        sd: scatter of a cell over seeds that is left when each seed's own level is taken out, in
            points of the metric
        seeds: how many seeds every cell is run with, two at least
        cells: what will be run; effects that these cells cannot separate are not in the answer

    Raises:
        ValueError: fewer than two seeds, or a scatter that is not above 0.
    """
    if seeds < 2 or not sd > 0:
        raise ValueError(f"needs at least two seeds and a scatter above 0, not {seeds} and {sd:g}")
    design = FactorDesign(product(cells, range(seeds)))
    found = {comparison.name: design.estimator(comparison) for comparison in COMPARISONS}
    return {name: _detectable(sd, one) for name, one in found.items() if not isinstance(one, str)}


def _checked(observations: Iterable[Observation]) -> list[Observation]:
    runs = sorted(observations, key=lambda run: (run.cell, run.seed))
    settings: dict[FactorCell, str] = {}
    cells: dict[str, FactorCell] = {}
    for run in runs:
        if not isfinite(run.value):
            raise UserError(
                f"{run.setting} with seed {run.seed} has the value {run.value}: leave this run out"
            )
        if settings.setdefault(run.cell, run.setting) != run.setting:
            raise UserError(
                f"{settings[run.cell]} and {run.setting} are one cell ({run.cell.words}): leave "
                "one out"
            )
        if cells.setdefault(run.setting, run.cell) != run.cell:
            both = f"({cells[run.setting].words}) and ({run.cell.words})"
            raise UserError(f"{run.setting} stands for two cells, {both}: give each its own name")
    for before, after in pairwise(runs):
        if (before.cell, before.seed) == (after.cell, after.seed):
            raise UserError(f"{after.setting} has two values for seed {after.seed}: leave one out")
    return runs


def _fit(model: Model, values: Sequence[float]) -> Any:
    from statsmodels.regression.linear_model import OLS

    return OLS(values, model.columns).fit()


def _effect(
    comparison: Comparison, design: FactorDesign, fits: dict[Model, Any], confidence: float
) -> Effect:
    effect = Effect(comparison.name, tuple(factor for factor, *_ in comparison.pairs))
    how = design.estimator(comparison)
    if isinstance(how, str):
        return replace(effect, refused=how)
    full, fit = fits[design.models[0]], fits[how.model]
    used = how.weights != 0
    compared = full.model.endog[used]
    if compared.min() == compared.max():
        return replace(effect, refused="All runs that it compares have the same value.")
    if sqrt(full.scale) <= EXACT * abs(full.model.endog).max():
        return replace(
            effect, refused="Seeds agree to the last digit, so nothing tells an effect from chance."
        )
    test = fit.t_test(how.row)
    ((low, high),) = test.conf_int(1 - confidence)
    misfit = full.compare_f_test(fit)[1] if how.model.freedom > design.models[0].freedom else None
    return replace(
        effect,
        estimate=float(test.effect[0]),
        low=float(low),
        high=float(high),
        p=float(test.pvalue),
        detectable=_detectable(sqrt(fit.scale), how),
        runs=int(used.sum()),
        assumes=tuple(
            " × ".join(factor for factor in FACTORS if factor in term)
            for term in how.model.left_out
        ),
        misfit=None if misfit is None else float(misfit),
    )


def _adjusted(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """Return the effects with Holm's p over all that are stated."""
    from statsmodels.stats.multitest import multipletests

    stated = [effect.p for effect in effects if effect.p is not None]
    ps = iter(multipletests(stated, method="holm")[1] if stated else ())
    return tuple(
        effect if effect.p is None else replace(effect, p_adjusted=float(next(ps)))
        for effect in effects
    )


def _detectable(sd: float, how: Estimator) -> float:
    """Return the effect whose noncentral t exceeds the test's bound with that power; the other
    bound adds < 1e-6.
    """
    from scipy.special import nctdtrinc, stdtrit

    freedom = how.model.freedom
    return sd * how.error * float(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - LEVEL / 2)))
