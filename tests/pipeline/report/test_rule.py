"""What is told apart, by the report's own rule: chance hardly ever, the smallest detectable effect
in 80%, and no interaction is hidden behind a main effect.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipeline.report.effects import Analysis, Observation, analyse, detectable_before
from pipeline.report.factors import CELLS, COMPARISONS, SIMPLE, FactorCell, FactorDesign
from pipeline.report.gate import TermAndPairs, adjusted

Array = Any
TIMES, SEEDS, SD = 2000, 3, 0.5
RUNS = [(cell, seed) for cell in sorted(CELLS) for seed in range(SEEDS)]
MODEL = FactorDesign(RUNS).models[0]
ALL = (*COMPARISONS, *SIMPLE)
WEIGHTS = np.array([MODEL.estimators[one].weights for one in ALL])
PROJECTION = MODEL.columns @ np.linalg.pinv(MODEL.columns)
TERMS = list(dict.fromkeys(one.term for one in COMPARISONS))
BOTH = "shared over positions × dynamic"


class Simulated:
    """Many repetitions of one design at once: estimates and tests of every comparison."""

    def __init__(self, values: Array) -> None:
        """Take the values (repetitions, runs)."""
        self.values = values
        residuals = values - values @ PROJECTION.T
        self.scale = (residuals**2).sum(1) / MODEL.freedom
        self.estimates = values @ WEIGHTS.T
        self.errors = np.sqrt(self.scale[:, None] * (WEIGHTS**2).sum(1))
        self.p = 2 * stats.t.sf(abs(self.estimates / self.errors), MODEL.freedom)

    def family(self) -> list[list[TermAndPairs]]:
        """Return the p of each term and its pairs, repetition by repetition."""
        columns = []
        for term in TERMS:
            places = [at for at, one in enumerate(COMPARISONS) if one.term == term]
            two = places[:2]
            inverse = np.linalg.inv(WEIGHTS[two] @ WEIGHTS[two].T)
            found = self.estimates[:, two]
            f = ((found @ inverse) * found).sum(1) / len(two) / self.scale
            columns.append((stats.f.sf(f, len(two), MODEL.freedom), self.p[:, places]))
        return [
            [TermAndPairs(float(whole[at]), tuple(pairs[at])) for whole, pairs in columns]
            for at in range(len(self.values))
        ]

    def judged(self) -> Array:
        """Return p over the whole family: (repetitions, terms), then pairs, in one row."""
        rows = []
        for family in self.family():
            raised = adjusted(family)
            rows.append([each.term for each in raised] + [p for each in raised for p in each.pairs])
        return np.array(rows)


def repeated(
    means: Mapping[FactorCell, float],
    draw: np.random.Generator,
    sd: Callable[[FactorCell], float] = lambda cell: SD,
    block: float = 3.0,
    times: int = TIMES,
) -> Simulated:
    level = block * draw.standard_normal((times, SEEDS))
    scatter = np.array([sd(cell) for cell, _ in RUNS]) * draw.standard_normal((times, len(RUNS)))
    fixed = np.array([70 + means[cell] for cell, _ in RUNS])
    return Simulated(fixed + np.tile(level, len(CELLS)) + scatter)


def read(values: Sequence[float]) -> Analysis:
    return analyse(
        Observation(cell.words, seed, float(value), *cell)
        for (cell, seed), value in zip(RUNS, values, strict=True)
    )


NONE = dict.fromkeys(CELLS, 0.0)
LEVELS = {"channel": 0.5, "group": 0.0, "all": -0.5}


def alone(name: str, size: float) -> dict[FactorCell, float]:
    """Means with one effect of a size, and the third level of groups midway."""
    parts = name.split(" × ")
    means = {}
    for cell in CELLS:
        signs = [
            {
                "shared over positions": 0.5 if cell.shared_positions else -0.5,
                "dynamic": 0.5 if cell.dynamic else -0.5,
            }.get(part, LEVELS[cell.channel_groups])
            for part in parts
        ]
        means[cell] = size * float(np.prod(signs))
    return means


def place(name: str) -> int:
    """Where a pair stands behind the terms in a row of p."""
    order = [one for term in TERMS for one in COMPARISONS if one.term == term]
    return len(TERMS) + [one.name for one in order].index(name)


def test_many_at_once_say_what_the_report_says() -> None:
    many = repeated(alone("channel − all", 1.0), np.random.default_rng(0), times=5)
    for values, p, estimates in zip(many.values, many.judged(), many.estimates, strict=True):
        analysis = read(values)
        pairs = [effect.p_adjusted for term in analysis.terms for effect in term.effects]
        assert [*(term.p_adjusted for term in analysis.terms), *pairs] == pytest.approx(list(p))
        found = [effect.estimate for effect in (*analysis.effects, *analysis.simple)]
        assert found == pytest.approx(list(estimates))


def naive(family: Sequence[TermAndPairs], level: float) -> list[list[bool]]:
    """Tell apart step by step at one level: terms, their pairs, and what a cleared term leaves."""
    found = [[False] * (1 + len(each.pairs)) for each in family]
    while True:
        waiting = sum(not all(told) for told in found)
        before = repr(found)
        for told, each in zip(found, family, strict=True):
            share = level / max(waiting, 1)
            told[0] = told[0] or each.term <= share
            for at, p in enumerate(each.pairs, 1):
                told[at] = told[at] or (told[0] and p <= share)
        if repr(found) == before:
            return found


def test_the_level_at_which_something_is_told_apart_is_that_of_the_steps() -> None:
    draw = np.random.default_rng(1)
    for _ in range(300):
        family = [
            TermAndPairs(float(draw.beta(0.3, 6)), tuple(draw.beta(0.3, 6, draw.choice([1, 3]))))
            for _ in range(draw.integers(1, 8))
        ]
        raised = adjusted(family)
        for level in (0.01, 0.05, 0.2):
            told = [[p <= level for p in (each.term, *each.pairs)] for each in raised]
            assert told == naive(family, level)


def test_terms_of_one_pair_are_holms() -> None:
    from statsmodels.stats.multitest import multipletests

    ps = [0.2, 0.001, 0.011, 0.03, 0.8]
    raised = adjusted([TermAndPairs(p, (p,)) for p in ps])
    assert [each.term for each in raised] == pytest.approx(
        list(multipletests(ps, method="holm")[1])
    )


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param([], id="nothing"),
        pytest.param([("dynamic", 3.0), (BOTH, 3.0)], id="two terms"),
        pytest.param([("channel and group alike", 3.0)], id="one pair of each term none"),
    ],
)
def test_a_claim_of_an_effect_that_is_none_stands_in_at_most_5_percent(planted: Any) -> None:
    """Over terms and pairs together, also where other effects are large."""
    means = dict(NONE)
    for name, size in planted:
        of_name = (
            {cell: size * (cell.channel_groups == "all") * (1 + cell.dynamic) for cell in CELLS}
            if name.startswith("channel and")
            else alone(name, size)
        )
        means = {cell: means[cell] + of_name[cell] for cell in CELLS}
    fixed = np.array([means[cell] for cell, _ in RUNS])
    order = [at for term in TERMS for at, one in enumerate(COMPARISONS) if one.term == term]
    pairs = abs(WEIGHTS[order] @ fixed) < 1e-9
    of_term = [[COMPARISONS[at].term for at in order].index(term) for term in TERMS]
    terms = [
        all(
            pairs[start + step] for step in range(sum(COMPARISONS[at].term == term for at in order))
        )
        for term, start in zip(TERMS, of_term, strict=True)
    ]
    none = np.array([*terms, *pairs])
    wrong = repeated(means, np.random.default_rng(2), times=4000).judged()[:, none] < 0.05
    assert none.sum() >= 5
    assert 0.005 < wrong.any(1).mean() <= 0.05 + 0.007  # two standard errors of 4,000


@pytest.mark.parametrize(
    "name",
    [
        "shared over positions",
        "channel − all",
        BOTH,
        "(channel − all) × dynamic",
        "shared over positions × (channel − all) × dynamic",
    ],
)
def test_the_smallest_detectable_effect_is_told_apart_in_80_percent(name: str) -> None:
    size = detectable_before(SD, SEEDS)[name]
    many = repeated(alone(name, size), np.random.default_rng(3))
    at = [one.name for one in COMPARISONS].index(name)
    assert many.estimates[:, at].mean() == pytest.approx(size, rel=0.02)
    assert 0.77 < (many.judged()[:, place(name)] < 0.05).mean() < 0.83
    stated = [
        effect.detectable
        for values in many.values[:100]
        for effect in read(values).effects
        if effect.name == name
    ]
    known = [value for value in stated if value is not None]
    assert len(known) == len(stated)
    assert fmean(known) == pytest.approx(size, rel=0.05)


UNEQUAL = {(True, True): 0.3, (True, False): 0.8, (False, True): 0.5, (False, False): 0.6}


@pytest.mark.parametrize(
    ("block", "sd"),
    [
        pytest.param(0.0, lambda cell: 0.5, id="no blocks"),
        pytest.param(20.0, lambda cell: 0.5, id="large blocks"),
        pytest.param(
            1.0, lambda cell: UNEQUAL[cell.shared_positions, cell.dynamic], id="unequal scatter"
        ),
    ],
)
def test_intervals_cover_the_truth_in_95_percent(
    block: float, sd: Callable[[FactorCell], float]
) -> None:
    draw = np.random.default_rng(20)
    means = {cell: float(draw.normal(0, 2)) for cell in CELLS}
    many = repeated(means, draw, sd, block)
    truth = WEIGHTS @ np.array([means[cell] for cell, _ in RUNS])
    half = stats.t.ppf(0.975, MODEL.freedom) * many.errors
    shares = (abs(many.estimates - truth) <= half).mean(0)[: len(COMPARISONS)]
    first = read(many.values[0]).effects
    assert [(effect.high or 0) - (effect.low or 0) for effect in first] == pytest.approx(
        list(2 * half[0, : len(COMPARISONS)])
    )
    assert len(shares) == 15
    assert 0.94 < shares.mean() < 0.96
    assert min(shares) > 0.93 and max(shares) < 0.975


@pytest.mark.parametrize(
    ("name", "mains"),
    [
        (BOTH, {"shared over positions", "dynamic"}),
        ("(channel − all) × dynamic", {"channel − all", "dynamic"}),
    ],
)
def test_an_interaction_is_not_hidden_behind_main_effects(name: str, mains: set[str]) -> None:
    """Where one is planted, every main effect that it changes stands with its levels."""
    size = 1.5 * detectable_before(SD, SEEDS)[name]
    means = {cell: value + cell.dynamic for cell, value in alone(name, size).items()}
    hidden = 0
    for values in repeated(means, np.random.default_rng(4), times=1000).values:
        analysis = read(values)
        changed = {effect.name for effect in analysis.effects if analysis.by_level(effect)}
        hidden += not mains <= changed
    assert hidden == 0


def test_an_effect_alone_stands_without_its_levels() -> None:
    """And one of three factors shows the levels of both others."""
    draw = np.random.default_rng(5)
    quiet = repeated(alone("dynamic", 3.0), draw, times=200)
    shown = [
        any(analysis.by_level(effect) for effect in analysis.effects if effect.name == "dynamic")
        for analysis in map(read, quiet.values)
    ]
    assert fmean(shown) < 0.4
    three = "shared over positions × (channel − all) × dynamic"
    (values,) = repeated(alone(three, 12.0), draw, times=1).values
    analysis = read(values)
    (main,) = [effect for effect in analysis.effects if effect.name == "dynamic"]
    assert [effect.comparison.at for effect in analysis.by_level(main)] == [
        (("shared over positions", shared), ("channel groups", group))
        for shared, group in product((True, False), ("channel", "group", "all"))
    ]
