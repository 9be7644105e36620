"""Effects of crossed factors: planted ones are found, chance is not, and what runs cannot separate
is not stated.
"""

import gc
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations, product
from math import sqrt
from statistics import fmean

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.report.effects import Analysis, Effect, Observation, analyse, detectable_before
from pipeline.report.factors import CELLS, FactorCell

Means = Mapping[FactorCell, float]
PAIRS = (("channel", "group"), ("channel", "all"), ("group", "all"))
BOTH = "shared over positions × dynamic"


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Holm's adjustment in statsmodels collects garbage each time; modules that stay need not be
    looked at again.
    """
    analyse(flat())
    gc.freeze()
    yield
    gc.unfreeze()


def run(cell: FactorCell, seed: int, value: float) -> Observation:
    return Observation(cell.words, seed, value, *cell)


def drawn(
    means: Means,
    draw: np.random.Generator,
    seeds: int = 3,
    sd: Callable[[FactorCell], float] = lambda cell: 0.5,
    block: float = 0.0,
) -> list[Observation]:
    """Runs of all cells: a mean, a level of the seed and a scatter that may differ between
    cells.
    """
    levels = block * draw.standard_normal(seeds)
    return [
        run(cell, seed, 70 + mean + levels[seed] + sd(cell) * draw.standard_normal())
        for cell, mean in means.items()
        for seed in range(seeds)
    ]


def expected(means: Means) -> dict[str, float]:
    """Each effect by arithmetic on means, where the cells are a whole grid; others by what they are
    not made of.
    """

    def mean(shared: bool | None, group: str | None, dynamic: bool | None) -> float:
        wanted = (shared, group, dynamic)
        return fmean(
            value
            for cell, value in means.items()
            if all(want in (None, at) for want, at in zip(wanted, cell, strict=True))
        )

    have = [{cell[place] for cell in means} for place in range(3)]
    sharing, dynamics = len(have[0]) == 2, len(have[2]) == 2
    found = {}
    if sharing:
        found["shared over positions"] = mean(True, None, None) - mean(False, None, None)
    if dynamics:
        found["dynamic"] = mean(None, None, True) - mean(None, None, False)
    if sharing and dynamics:
        yes, no = (mean(shared, None, True) - mean(shared, None, False) for shared in (True, False))
        found[BOTH] = yes - no
    for left, right in PAIRS:
        if {left, right} <= have[1]:
            pair = f"({left} − {right})"
            found[f"{left} − {right}"] = mean(None, left, None) - mean(None, right, None)
            if sharing:
                yes, no = (
                    mean(shared, left, None) - mean(shared, right, None) for shared in (True, False)
                )
                found[f"shared over positions × {pair}"] = yes - no
            if dynamics:
                yes, no = (
                    mean(None, left, dynamic) - mean(None, right, dynamic)
                    for dynamic in (True, False)
                )
                found[f"{pair} × dynamic"] = yes - no
            if sharing and dynamics:
                four = {
                    at: mean(at[0], left, at[1]) - mean(at[0], right, at[1])
                    for at in product((True, False), repeat=2)
                }
                difference = (
                    four[True, True] - four[True, False] - (four[False, True] - four[False, False])
                )
                found[f"shared over positions × {pair} × dynamic"] = difference
    return found


def made_of(
    terms: Iterable[tuple[int, ...]], draw: np.random.Generator, cells: Iterable[FactorCell] = CELLS
) -> Means:
    """Cell means that are sums of random tables, one for each set of factors (by place in the
    cell).
    """
    tables: dict[tuple[object, ...], float] = {}
    terms = list(terms)

    def part(cell: FactorCell, term: tuple[int, ...]) -> float:
        return tables.setdefault((term, *(cell[place] for place in term)), float(draw.normal(0, 2)))

    return {cell: sum(part(cell, term) for term in terms) for cell in cells}


TERMS = [term for order in (1, 2, 3) for term in combinations(range(3), order)]
PLACES = {"shared over positions": 0, "channel groups": 1, "dynamic": 2}


def named(analysis: Analysis) -> dict[str, Effect]:
    return {effect.name: effect for effect in analysis.effects}


def numbers(effect: Effect) -> tuple[float, float, float, float, float, float]:
    found = (
        effect.estimate,
        effect.low,
        effect.high,
        effect.p,
        effect.p_adjusted,
        effect.detectable,
    )
    assert None not in found, effect
    return found  # type: ignore[return-value]


def refusals(runs: Iterable[Observation]) -> dict[str, str]:
    analysis = analyse(runs)
    for effect in analysis.effects:
        values = (
            effect.estimate,
            effect.low,
            effect.high,
            effect.p,
            effect.p_adjusted,
            effect.detectable,
        )
        assert {value is None for value in values} == {bool(effect.refused)}
        assert (effect.runs == 0) == bool(effect.refused)
    return {effect.name: effect.refused for effect in analysis.effects if effect.refused}


def test_an_example_by_hand() -> None:
    """Two seeds of twelve cells: means, residuals, t and Holm by plain arithmetic and the
    textbook's tables.
    """
    from scipy import stats

    table: dict[FactorCell, tuple[float, float]] = dict(
        zip(CELLS, [(74, 76), (70, 73), (75, 75), (69, 72), (71, 74), (66, 66)] * 2, strict=True)
    )
    table = {cell: (one + 2.5 * cell.shared_positions, two) for cell, (one, two) in table.items()}
    means = {cell: fmean(values) for cell, values in table.items()}
    of_seed = [fmean(values[seed] for values in table.values()) for seed in (0, 1)]
    grand = fmean(of_seed)
    square = sum(
        (table[at][s] - means[at] - of_seed[s] + grand) ** 2 for at in CELLS for s in (0, 1)
    )
    sd = sqrt(square / 11)
    analysis = analyse(run(cell, seed, table[cell][seed]) for cell in CELLS for seed in (0, 1))
    assert analysis.freedom == 11 and analysis.residual_sd == pytest.approx(sd)
    found = named(analysis) | {effect.name: effect for effect in analysis.simple}
    # The variance of a difference of means of n runs and n others is 2/n; of twice a difference of
    # differences, 4/n.
    errors = {
        "shared over positions": 2 / 12,
        "channel − all": 2 / 8,
        BOTH: 4 / 6,
        "(group − all) × dynamic": 4 / 4,
    }
    for name, variance in errors.items():
        estimate, low, high, p, _, detectable = numbers(found[name])
        error = sd * sqrt(variance)
        half = stats.t.ppf(0.975, 11) * error
        assert (low, high) == pytest.approx((estimate - half, estimate + half))
        assert p == pytest.approx(2 * stats.t.sf(abs(estimate) / error, 11))
        limit = stats.t.ppf(1 - 0.025 / 7, 11)  # of seven terms
        if "−" not in name:
            assert stats.nct.sf(limit, 11, detectable / error) == pytest.approx(0.8, abs=1e-5)
    assert {name: found[name].estimate for name in expected(means)} == pytest.approx(
        expected(means)
    )
    assert {effect.runs for effect in analysis.effects} == {24, 16}
    assert found["shared over positions"].runs == 24
    assert found["channel − all"].runs == 16
    groups = np.array(
        [[means[c] for c in CELLS if c.channel_groups == g] for g in ("channel", "group", "all")]
    )
    f = 8 * groups.mean(1).var(ddof=1) / sd**2  # eight runs a level
    tested = {term.name: term for term in analysis.terms}
    assert len(tested) == 7
    term = tested["channel groups"]
    assert (term.rank, term.freedom) == (2, 11)
    assert (term.f, term.p) == pytest.approx((f, stats.f.sf(f, 2, 11)))
    for name in ("dynamic", BOTH):
        assert tested[name].p == pytest.approx(found[name].p)
        assert tested[name].f == pytest.approx((found[name].t or 0) ** 2)
    assert found["dynamic, per channel"].estimate == pytest.approx(
        fmean(means[c] for c in CELLS if c.channel_groups == "channel" and c.dynamic)
        - fmean(means[c] for c in CELLS if c.channel_groups == "channel" and not c.dynamic)
    )


@pytest.mark.parametrize("seed", range(6))
def test_planted_effects_lie_in_their_intervals(seed: int) -> None:
    draw = np.random.default_rng(seed)
    means = made_of(TERMS, draw)
    analysis = analyse(
        drawn(means, draw, seeds=int(draw.integers(2, 6)), block=5.0), confidence=0.999
    )
    truth = expected(means)
    for name, effect in named(analysis).items():
        _, low, high, *_ = numbers(effect)
        assert low <= truth[name] <= high, name
        assert not effect.assumes


def test_large_effects_are_found_and_none_where_there_are_none() -> None:
    draw = np.random.default_rng(3)
    means = {cell: 2.0 * cell.dynamic - 3.0 * (cell.channel_groups == "all") for cell in CELLS}
    found = named(analyse(drawn(means, draw, block=2.0)))
    sure = {name for name, effect in found.items() if numbers(effect)[4] < 0.05}
    assert sure == {"dynamic", "channel − all", "group − all"}


def test_before_anything_is_run() -> None:
    twelve = detectable_before(1.0, seeds=3)
    assert len(twelve) == 15
    assert detectable_before(2.0, seeds=3)[BOTH] == pytest.approx(2 * twelve[BOTH])
    assert detectable_before(1.0, seeds=10)[BOTH] < twelve[BOTH] / 1.8
    shared_is_static = [cell for cell in CELLS if cell.shared_positions != cell.dynamic]
    assert set(detectable_before(1.0, 3, shared_is_static)) == {
        "channel − group",
        "channel − all",
        "group − all",
    }
    for sd, seeds in ((1.0, 1), (0.0, 3), (float("nan"), 3)):
        with pytest.raises(ValueError, match="at least two seeds"):
            detectable_before(sd, seeds)


def test_order_of_rows_changes_nothing() -> None:
    draw = np.random.default_rng(1)
    runs = [
        one for one in drawn(made_of(TERMS, draw), draw) if (one.cell, one.seed) != (CELLS[4], 1)
    ]
    runs = [one for one in runs if one.cell != CELLS[7]]
    first = repr(analyse(runs))
    for seed in range(5):
        random.Random(seed).shuffle(runs)
        assert repr(analyse(runs)) == first


def flat(
    cells: Iterable[FactorCell] = CELLS, seeds: Iterable[int] = (0, 1, 2)
) -> list[Observation]:
    """Runs with effects of nothing but chance."""
    draw, seeds = np.random.default_rng(9), list(seeds)
    return [run(cell, seed, 70 + draw.standard_normal()) for cell in cells for seed in seeds]


def test_full_cells_refuse_nothing() -> None:
    assert refusals(flat()) == {}


def test_aliased_factors_are_refused_by_each_others_name() -> None:
    found = refusals(flat(cell for cell in CELLS if cell.dynamic != cell.shared_positions))
    assert (
        found.pop("dynamic")
        == "Cannot be told from shared over positions: the runs change both at once."
    )
    assert (
        found.pop("shared over positions")
        == "Cannot be told from dynamic: the runs change both at once."
    )
    assert len(found) == 10  # all interactions; channel groups can be told
    assert all(text.startswith("Needs cells without runs: ") for text in found.values())


def test_one_seed_is_refused() -> None:
    found = refusals(flat(seeds=[0]))
    assert set(found.values()) == {"Needs at least two seeds that cells have in common."}
    assert len(found) == 15


def test_one_seed_is_refused_too_where_left_out_interactions_would_leave_freedom() -> None:
    assert len(refusals(flat(CELLS[:-1], seeds=[0]))) == 15


def test_seeds_that_cells_do_not_share_are_refused() -> None:
    parted = [*flat(CELLS[:6], seeds=[0, 1]), *flat(CELLS[6:], seeds=[2, 3])]
    assert refusals(parted) == {
        "shared over positions": "The cells that it compares have no seeds in common."
    }
    each_its_own = [one for place, cell in enumerate(CELLS) for one in flat([cell], seeds=[place])]
    assert set(refusals(each_its_own).values()) == {
        "Needs at least two seeds that cells have in common."
    }


def test_a_factor_with_one_level_is_refused() -> None:
    found = refusals(flat(cell for cell in CELLS if not cell.dynamic))
    assert {name for name in found if "dynamic" in name} == set(found)
    assert set(found.values()) == {"Nothing to compare: all runs are static."}
    assert len(found) == 8


def test_a_level_without_runs_is_refused_and_means_are_over_the_others() -> None:
    draw = np.random.default_rng(2)
    means = made_of(TERMS, draw, [cell for cell in CELLS if cell.channel_groups != "group"])
    analysis = analyse(drawn(means, draw), confidence=0.999)
    assert analysis.unrun == ("per group",)
    truth = expected(means)
    for name, effect in named(analysis).items():
        if "group" in name:
            assert effect.refused == "Nothing to compare: no runs per group."
        else:
            _, low, high, *_ = numbers(effect)
            assert low <= truth[name] <= high


def test_values_that_do_not_vary_are_refused() -> None:
    ceiling = refusals([replace(one, value=100.0) for one in flat()])
    assert set(ceiling.values()) == {"All runs that it compares have the same value."}
    assert len(ceiling) == 15
    some = [replace(one, value=100.0) if one.channel_groups != "all" else one for one in flat()]
    assert set(refusals(some)) == {
        name for name in expected(dict.fromkeys(CELLS, 0.0)) if "channel − group" in name
    }
    exact = refusals(
        [replace(one, value=70.0 + CELLS.index(one.cell) / 7 + one.seed / 3) for one in flat()]
    )
    assert set(exact.values()) == {
        "Seeds agree to the last digit, so nothing tells an effect from chance."
    }
    assert len(exact) == 15


def test_no_runs_are_refused() -> None:
    assert set(refusals([]).values()) == {"There are no runs."}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: [*runs, replace(runs[0], value=71.0)], "has two values for seed 0"),
        (lambda runs: [*runs, replace(runs[0], setting="other", seed=7)], "are one cell"),
        (
            lambda runs: [*runs, replace(runs[0], channel_groups="all", seed=7)],
            "one cell|stands for two cells",
        ),
        (
            lambda runs: [replace(runs[0], setting="x"), replace(runs[-1], setting="x")],
            "x stands for two cells",
        ),
        (lambda runs: [*runs[1:], replace(runs[0], value=float("nan"))], "has the value nan"),
        (lambda runs: [*runs[1:], replace(runs[0], value=float("inf"))], "has the value inf"),
    ],
)
def test_rows_that_contradict_each_other_are_bad_input(
    change: Callable[[list[Observation]], list[Observation]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        analyse(change(flat()))


def test_a_missing_cell_is_named_and_costs_an_assumption() -> None:
    draw = np.random.default_rng(4)
    means = made_of([term for term in TERMS if len(term) < 3], draw)
    analysis = analyse([one for one in drawn(means, draw) if one.cell != CELLS[-1]])
    found = named(analysis)
    assert analysis.missing == (CELLS[-1],)
    reason = f"Needs cells without runs: {CELLS[-1].words}."
    refused = {name: effect.refused for name, effect in found.items() if effect.refused}
    assert refused == {
        f"shared over positions × ({left} − all) × dynamic": reason for left in ("channel", "group")
    }
    free = {name for name, effect in found.items() if not effect.refused and not effect.assumes}
    assert free == {name for name in found if "channel − group" in name}
    text = "Holds if there is no interaction shared over positions × channel groups × dynamic."
    assert {effect.assumption for effect in found.values() if effect.assumes} == {text}


def test_interactions_that_cells_or_seeds_cannot_carry_are_assumed_to_be_none() -> None:
    three = "shared over positions × channel groups × dynamic"
    cornerless = named(
        analyse(flat(cell for cell in CELLS if cell.shared_positions or cell.dynamic))
    )
    assert (
        cornerless["dynamic"].assumes
        == cornerless["shared over positions"].assumes
        == (BOTH, three)
    )
    assert cornerless["channel − group"].assumes == (three,)
    assert cornerless[BOTH].refused
    corner = [cell for cell in CELLS if cell.shared_positions and cell.dynamic]
    parted = [
        *flat(corner, seeds=[0, 1]),
        *flat((cell for cell in CELLS if cell not in corner), seeds=[2, 3]),
    ]
    found = named(analyse(parted))
    assert found["dynamic"].assumes == (BOTH, three)
    assert found[BOTH].refused == "The cells that it compares have no seeds in common."
    assert not found["channel − group"].assumes


def test_runs_that_speak_against_an_assumption_are_heard() -> None:
    draw = np.random.default_rng(5)
    means = {cell: 9.0 * (cell == CELLS[0]) for cell in CELLS}
    found = named(analyse([one for one in drawn(means, draw) if one.cell != CELLS[-1]]))
    sharing, groups = found["shared over positions"], found["channel − group"]
    assert sharing.misfit is not None and sharing.misfit < 1e-6
    assert "speak against" in sharing.assumption
    _, low, high, *_ = numbers(groups)  # which assumes nothing
    assert low <= expected(means)["channel − group"] <= high


@pytest.mark.parametrize("seed", range(25))
def test_what_is_stated_from_any_cells_is_true_under_what_it_assumes(seed: int) -> None:
    """No effect hangs on how the model is written: whatever the runs, each is the grid's where its
    assumption holds.
    """
    draw = np.random.default_rng(100 + seed)
    cells = [cell for cell in CELLS if draw.random() < draw.choice([0.5, 0.8])]
    ran = [(cell, at) for cell in cells for at in range(3) if draw.random() < 0.8]
    first = analyse(run(cell, at, 70 + draw.standard_normal()) for cell, at in ran)
    stated = [effect for effect in first.effects if not effect.refused]
    levels = (
        {cell.shared_positions for cell, _ in ran},
        {cell.channel_groups for cell, _ in ran},
        {cell.dynamic for cell, _ in ran},
    )
    grid = [FactorCell(shared, groups, dynamic) for shared, groups, dynamic in product(*levels)]
    varied = [place for place in range(3) if len(levels[place]) > 1]
    for assumes in {effect.assumes for effect in stated}:
        none = [tuple(sorted(PLACES[factor] for factor in term.split(" × "))) for term in assumes]
        kept = [
            term for term in TERMS if tuple(place for place in term if place in varied) not in none
        ]
        means = made_of(kept, draw, grid)
        level = draw.normal(0, 20, size=3)
        again = named(
            analyse(
                run(cell, at, means[cell] + level[at] + 1e-5 * draw.normal()) for cell, at in ran
            )
        )
        truth = expected(means)
        for effect in stated:
            if effect.assumes == assumes:
                assert again[effect.name].estimate == pytest.approx(truth[effect.name], abs=1e-3)
