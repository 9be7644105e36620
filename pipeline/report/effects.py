"""What each factor of a factorial design does to a metric: main effects and interactions over
paired seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product
from math import isfinite, sqrt
from typing import Any

from pipeline.core.errors import UserError
from pipeline.report.factors import (
    CELLS,
    COMPARISONS,
    EXACT,
    FACTORS,
    SIMPLE,
    Comparison,
    Estimator,
    FactorCell,
    FactorDesign,
    Groups,
    Model,
    Term,
)
from pipeline.report.gate import LEVEL, TermAndPairs, adjusted, detectable
from pipeline.report.statistics import CONFIDENCE


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

    `low` and `high` are the ends of its interval, `t` and `p` those of the two-sided t-test,
    `p_adjusted` over all terms and pairs together, which a simple effect has not. `detectable` is
    the true effect that the same rule tells apart in 80% of repetitions, `runs` the number of runs
    that the estimate is made of. `assumes` names interactions that are taken to be none because
    cells are missing; `misfit` is the p of the F-test of that, None where the cells that were run
    cannot tell.
    """

    comparison: Comparison
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    t: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    runs: int = 0
    assumes: tuple[str, ...] = ()
    misfit: float | None = None
    refused: str = ""

    @property
    def name(self) -> str:
        """Its factors; of channel groups the two levels; where a level is given, at which."""
        place = self.comparison.place
        return f"{self.comparison.name}, {place}" if place else self.comparison.name

    @property
    def factors(self) -> tuple[str, ...]:
        """What is compared, one for a main effect."""
        return tuple(factor for factor, *_ in self.comparison.pairs)

    @property
    def clear(self) -> bool:
        """Whether it is told apart from none, its term before it."""
        return self.p_adjusted is not None and self.p_adjusted < LEVEL

    @property
    def assumption(self) -> str:
        """A sentence on what has to hold; empty where nothing has."""
        if not self.assumes:
            return ""
        doubt = self.misfit is not None and self.misfit < LEVEL
        against = ", and the runs there are speak against that" if doubt else ""
        return f"Holds if there is no interaction {', nor '.join(self.assumes)}{against}."


@dataclass(frozen=True)
class TermTest:
    """The F-test of a term: that all its pairs are none, before any of them is looked at.

    `rank` and `freedom` are its degrees of freedom, `p_adjusted` is over all terms and pairs.
    """

    effects: tuple[Effect, ...]
    rank: int
    freedom: int
    f: float
    p: float
    p_adjusted: float

    @property
    def name(self) -> str:
        """Its factors."""
        return " × ".join(self.effects[0].factors)

    @property
    def clear(self) -> bool:
        """Whether it is told apart from none."""
        return self.p_adjusted < LEVEL


@dataclass(frozen=True)
class Analysis:
    """Every effect, stated or refused, the tests of their terms, and what they stand on.

    `simple` are main effects at a level of other factors, as far as the runs state them.
    `residual_sd` is the scatter of a cell over seeds after each seed's own level is taken out, with
    `freedom` degrees of freedom. `missing` are cells without runs among the levels that were run,
    `unrun` levels without runs at all; means are over the levels that were run.
    """

    effects: tuple[Effect, ...]
    terms: tuple[TermTest, ...]
    simple: tuple[Effect, ...]
    observations: tuple[Observation, ...]
    confidence: float
    residual_sd: float | None
    freedom: int
    missing: tuple[FactorCell, ...]
    unrun: tuple[str, ...]

    def by_level(self, main: Effect) -> tuple[Effect, ...]:
        """Return a main effect at the levels of each factor that it changes with; none where no
        interaction is told apart or larger than its interval.
        """
        others = {
            frozenset(effect.factors) - {*main.factors}
            for effect in self.effects
            if {*main.comparison.pairs} < {*effect.comparison.pairs} and _counts(effect, main)
        } | {
            frozenset(term.effects[0].factors) - {*main.factors}
            for term in self.terms
            if {*main.factors} < {*term.effects[0].factors} and term.clear
        }

        if any(len(factors) > 1 for factors in others):
            others = {factors for factors in others if len(factors) > 1}

        return tuple(
            effect
            for effect in self.simple
            if effect.comparison.pairs == main.comparison.pairs
            and frozenset(factor for factor, _ in effect.comparison.at) in others
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that were run."""
        return tuple(sorted({run.seed for run in self.observations}))


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
    design = _design(tuple((run.cell, run.seed) for run in runs))
    fits = {model: _fit(model, [run.value for run in runs]) for model in design.models}
    estimated = _effects(design, fits, confidence)
    freedom = design.models[0].freedom if runs else 0
    effects, terms = _judged([estimated[comparison] for comparison in COMPARISONS], design, fits)

    return Analysis(
        effects=effects,
        terms=terms,
        simple=tuple(
            effect for comparison in SIMPLE if not (effect := estimated[comparison]).refused
        ),
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
    """Return the smallest effect told apart in 80% of repetitions, by name, before anything is
    run, by the rule of `analyse`.

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
    stated = [
        comparison
        for comparison in COMPARISONS
        if not isinstance(design.estimator(comparison), str)
    ]
    terms = _terms(stated, design)
    return {
        comparison.name: sd * how.error * detectable(_rank(term), how.model.freedom, len(terms))
        for term in terms
        for comparison, how in term.items()
    }


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


@lru_cache(maxsize=8)
def _design(runs: tuple[tuple[FactorCell, int], ...]) -> FactorDesign:
    """Return the design of these runs; budgets of one design share it."""
    return FactorDesign(runs)


def _effects(
    design: FactorDesign, fits: Mapping[Model, Any], confidence: float
) -> dict[Comparison, Effect]:
    """Return every comparison, stated or refused, not yet judged among the others."""
    refused = {
        comparison: _refused(comparison, design, fits) for comparison in (*COMPARISONS, *SIMPLE)
    }
    effects = {comparison: Effect(comparison, refused=why) for comparison, why in refused.items()}

    for model, fit in fits.items():
        stated = {
            comparison: how
            for comparison, why in refused.items()
            if not why
            and not isinstance(how := design.estimator(comparison), str)
            and how.model is model
        }
        if stated:
            effects |= _stated(stated, design, fits[design.models[0]], fit, confidence)

    return effects


def _refused(comparison: Comparison, design: FactorDesign, fits: Mapping[Model, Any]) -> str:
    """Return why a comparison cannot be stated; empty where it can."""
    how = design.estimator(comparison)
    if isinstance(how, str):
        return how

    full = fits[design.models[0]]
    compared = full.model.endog[how.weights != 0]
    if compared.min() == compared.max():
        return "All runs that it compares have the same value."
    if sqrt(full.scale) <= EXACT * abs(full.model.endog).max():
        return "Seeds agree to the last digit, so nothing tells an effect from chance."
    return ""


def _stated(
    estimators: Mapping[Comparison, Estimator],
    design: FactorDesign,
    full: Any,
    fit: Any,
    confidence: float,
) -> dict[Comparison, Effect]:
    """Return the comparisons that one model states."""
    import numpy as np

    test = fit.t_test(np.array([how.row for how in estimators.values()]))
    model = next(iter(estimators.values())).model
    smaller = model.freedom > design.models[0].freedom
    misfit = float(full.compare_f_test(fit)[1]) if smaller else None
    assumes = tuple(
        " × ".join(factor for factor in FACTORS if factor in term) for term in model.left_out
    )

    bounds = np.reshape(test.conf_int(1 - confidence), (-1, 2)).T
    columns = (test.effect, *bounds, test.tvalue, test.pvalue)
    rows = np.column_stack([np.ravel(column) for column in columns]).tolist()

    return {
        comparison: Effect(
            comparison,
            estimate=estimate,
            low=low,
            high=high,
            t=t,
            p=p,
            runs=int((how.weights != 0).sum()),
            assumes=assumes,
            misfit=misfit,
        )
        for (comparison, how), (estimate, low, high, t, p) in zip(
            estimators.items(), rows, strict=True
        )
    }


def _judged(
    effects: Sequence[Effect], design: FactorDesign, fits: Mapping[Model, Any]
) -> tuple[tuple[Effect, ...], tuple[TermTest, ...]]:
    """Return the effects and the tests of their terms with p over all that are stated."""
    by_comparison = {effect.comparison: effect for effect in effects}
    terms = _terms(
        [comparison for comparison, effect in by_comparison.items() if not effect.refused], design
    )
    tests = [_f_test(term, fits) for term in terms]
    family = [
        TermAndPairs(p, tuple(by_comparison[comparison].p or 0.0 for comparison in term))
        for term, (_, p) in zip(terms, tests, strict=True)
    ]

    judged: list[TermTest] = []
    for term, (f, p), raised in zip(terms, tests, adjusted(family), strict=True):
        rank = _rank(term)
        for (comparison, how), pair in zip(term.items(), raised.pairs, strict=True):
            errors = detectable(rank, how.model.freedom, len(terms))
            scatter = sqrt(fits[how.model].scale)
            by_comparison[comparison] = replace(
                by_comparison[comparison], p_adjusted=pair, detectable=scatter * how.error * errors
            )

        freedom = next(iter(term.values())).model.freedom
        judged.append(
            TermTest(
                tuple(by_comparison[comparison] for comparison in term),
                rank,
                freedom,
                f,
                p,
                raised.term,
            )
        )

    return tuple(by_comparison.values()), tuple(judged)


def _terms(stated: Iterable[Comparison], design: FactorDesign) -> list[dict[Comparison, Estimator]]:
    """Return comparisons by term; what stands in another model, under other assumptions, is a term
    of its own.
    """
    terms: dict[tuple[Term, Model], dict[Comparison, Estimator]] = {}
    for comparison in stated:
        how = design.estimator(comparison)
        if not isinstance(how, str):
            terms.setdefault((comparison.term, how.model), {})[comparison] = how
    return list(terms.values())


def _rank(term: Mapping[Comparison, Estimator]) -> int:
    """Return a term's degrees of freedom: two pairs of channel groups say the third."""
    return min(len(term), 2)


def _f_test(term: Mapping[Comparison, Estimator], fits: Mapping[Model, Any]) -> tuple[float, float]:
    """Return F and p of a term."""
    import numpy as np

    estimators = list(term.values())[: _rank(term)]
    test = fits[estimators[0].model].f_test(np.array([how.row for how in estimators]))
    return float(test.fvalue), float(test.pvalue)


def _counts(interaction: Effect, main: Effect) -> bool:
    """Whether an interaction changes a main effect: it is told apart, or larger than that one's
    interval. One of three factors has to be told apart.
    """
    if interaction.clear:
        return True
    if interaction.estimate is None or main.low is None or main.high is None:
        return False
    return len(interaction.factors) == 2 and abs(interaction.estimate) > main.high - main.low
