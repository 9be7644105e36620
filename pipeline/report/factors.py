"""Three crossed factors: the effects asked for, and which of them a set of runs can tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Matrix = NDArray[float64]

Groups = Literal["channel", "group", "all"]
Level = bool | str
Levels = Mapping[str, Sequence[Level]]
Term = frozenset[str]

# In the order of a cell's fields. What is compared is an earlier level minus a later one.
FACTORS: dict[str, dict[Level, str]] = {
    "shared over positions": {True: "shared over positions", False: "per position"},
    "channel groups": {
        "channel": "per channel",
        "group": "per group",
        "all": "shared by all channels",
    },
    "dynamic": {True: "dynamic", False: "static"},
}
# far above rounding, far below what a design's numbers (sums of a few halves and thirds) differ by
EXACT = 1e-9


class FactorCell(NamedTuple):
    """One combination of the factors' levels."""

    shared_positions: bool
    channel_groups: Groups
    dynamic: bool

    @property
    def words(self) -> str:
        """What its weights are."""
        return ", ".join(words[level] for words, level in zip(FACTORS.values(), self, strict=True))


GROUPS: tuple[Groups, ...] = ("channel", "group", "all")
CELLS = tuple(FactorCell(*levels) for levels in product((True, False), GROUPS, (True, False)))


@dataclass(frozen=True)
class Comparison:
    """A main effect (a level minus another) or an interaction (a difference of such differences).

    The factors that it is not about are averaged over, every cell with equal weight; a simple
    effect is a main effect at one level (`at`) of other factors. Channel groups have three levels,
    and all three pairs are compared: each is a difference of means that a reader finds again in the
    plot, which two orthogonal comparisons would not be (the ends; the middle against both ends).
    They depend on one another and so are one term, tested as a whole before its pairs.
    """

    pairs: tuple[tuple[str, Level, Level], ...]
    at: tuple[tuple[str, Level], ...] = ()

    @property
    def term(self) -> Term:
        """The factors that it is about, and those that it is at a level of."""
        return frozenset([*(factor for factor, _, _ in self.pairs), *dict(self.at)])

    @property
    def place(self) -> str:
        """The levels that it is at, in words."""
        return ", ".join(FACTORS[factor][level] for factor, level in self.at)

    @property
    def name(self) -> str:
        """Its factors; of channel groups the two levels."""
        parts = [
            f"{left} − {right}" if isinstance(left, str) else factor
            for factor, left, right in self.pairs
        ]
        return (
            parts[0]
            if len(parts) == 1
            else " × ".join(f"({part})" if "−" in part else part for part in parts)
        )

    def weights(self, levels: Levels) -> list[float]:
        """Return what each cell of the grid of these levels counts."""
        signs = {factor: {left: 1.0, right: -1.0} for factor, left, right in self.pairs}
        signs |= {factor: {level: 1.0} for factor, level in self.at}
        parts = (
            [signs[factor].get(level, 0.0) if factor in signs else 1 / len(at) for level in at]
            for factor, at in levels.items()
        )

        return [prod(part) for part in product(*parts)]


def _comparisons() -> Iterator[Comparison]:
    pairs = {
        factor: [(factor, *pair) for pair in combinations(words, 2)]
        for factor, words in FACTORS.items()
    }
    for order in (1, 2, 3):
        for term in combinations(pairs, order):
            yield from (
                Comparison(chosen) for chosen in product(*(pairs[factor] for factor in term))
            )


COMPARISONS = tuple(_comparisons())  # main effects, interactions of two, interactions of three


def _simple() -> Iterator[Comparison]:
    """Yield each main effect at each level of another factor, then of both others."""
    for main in (comparison for comparison in COMPARISONS if len(comparison.pairs) == 1):
        others = [factor for factor in FACTORS if factor not in main.term]
        for many in (1, 2):
            for chosen in combinations(others, many):
                for levels in product(*(FACTORS[factor] for factor in chosen)):
                    yield Comparison(main.pairs, tuple(zip(chosen, levels, strict=True)))


SIMPLE = tuple(_simple())


@dataclass(frozen=True)
class Estimator:
    """A comparison as a combination of a model's parameters (`row`), and so of the runs
    (`weights`).
    """

    model: Model
    row: Matrix
    weights: Matrix

    @property
    def error(self) -> float:
        """Standard error of the estimate where a run's scatter is 1."""
        return float((self.weights**2).sum() ** 0.5)


class Model:
    """Cell means made of some terms, and a block effect for each seed: its columns, and what they
    determine.

    Columns that depend on one another are turned into as many independent ones as there are, so
    that a comparison is determined or is not, however the terms are written.
    """

    def __init__(self, design: FactorDesign, terms: Iterable[Term], blocks: bool = True):
        import numpy as np

        self.terms = tuple(terms)
        self.left_out = tuple(term for term in design.terms if term not in self.terms)
        seeds = sorted({seed for _, seed in design.runs}) if blocks else [0]
        grid = np.hstack([_columns(design.levels, term) for term in (frozenset(), *self.terms)])
        of_blocks = [
            _sum_to_zero(seeds)[seeds.index(seed)] if blocks else [] for _, seed in design.runs
        ]
        every = np.hstack(
            [grid[[design.grid.index(cell) for cell, _ in design.runs]], np.array(of_blocks)]
        )

        _, sizes, directions = np.linalg.svd(every, full_matrices=False)
        directions = directions[sizes > EXACT * sizes[0]]
        self.columns: Matrix = every @ directions.T
        inverse = np.linalg.pinv(self.columns)

        self.estimators: dict[Comparison, Estimator] = {}
        for comparison in (*COMPARISONS, *SIMPLE):
            target = np.zeros(every.shape[1])  # nothing of a block's effect: the mean over blocks
            target[: grid.shape[1]] = comparison.weights(design.levels) @ grid
            row = directions @ target
            if comparison.term in self.terms and np.abs(row @ directions - target).max() < EXACT:
                weights = row @ inverse
                weights[np.abs(weights) < EXACT] = 0
                self.estimators[comparison] = Estimator(self, row, weights)

    @property
    def freedom(self) -> int:
        """Residual degrees of freedom."""
        runs, parameters = self.columns.shape
        return int(runs - parameters)


class FactorDesign:
    """Which cell was run with which seed, sorted; the grid of the levels that were run is what
    means are over.

    `models` begins with all interactions. Where the runs do not determine the interaction of three,
    a model without it follows; where that one has undetermined interactions of two, one without
    those and what contains them. A comparison stands in the first model that determines it, and so
    on as few assumptions as can be.
    """

    def __init__(self, runs: Iterable[tuple[FactorCell, int]]):
        self.runs = sorted(runs)
        ran = [{cell[place] for cell, _ in self.runs} for place in range(len(FACTORS))]
        self.levels: dict[str, list[Level]] = {
            factor: [level for level in words if level in here]
            for (factor, words), here in zip(FACTORS.items(), ran, strict=True)
        }
        self.grid = list(product(*self.levels.values()))
        self.missing = tuple(
            cell
            for cell in CELLS
            if cell in self.grid and cell not in {run_cell for run_cell, _ in self.runs}
        )

        varied = [factor for factor, levels in self.levels.items() if len(levels) > 1]
        self.terms = tuple(
            frozenset(term) for order in (1, 2, 3) for term in combinations(varied, order)
        )
        self.comparisons = {
            comparison for comparison in (*COMPARISONS, *SIMPLE) if not self._unrun(comparison)
        }
        self.models = self._models() if self.runs else []

    def estimator(self, comparison: Comparison) -> Estimator | str:
        """How a comparison is estimated, or the sentence why these runs do not separate it from
        others or chance.
        """
        if not self.runs:
            return "There are no runs."
        if comparison not in self.comparisons:
            return self._unrun(comparison)
        if not self.models[0].freedom:
            return "Needs at least two seeds that cells have in common."
        candidates = (model.estimators.get(comparison) for model in self.models)
        return next(
            (candidate for candidate in candidates if candidate), None
        ) or self._inseparable(comparison)

    def _models(self) -> list[Model]:
        models = [Model(self, self.terms)]
        for order in (3, 2):
            last = models[-1]
            lost = [
                term
                for term in last.terms
                if len(term) == order and not self._determined(term, last)
            ]
            if lost:
                models.append(
                    Model(
                        self,
                        [
                            term
                            for term in last.terms
                            if not any(lost_term <= term for lost_term in lost)
                        ],
                    )
                )

        return models

    def _determined(self, term: Term, model: Model) -> bool:
        comparisons = [
            comparison
            for comparison in self.comparisons
            if comparison.term == term and not comparison.at
        ]
        return all(comparison in model.estimators for comparison in comparisons)

    def _unrun(self, comparison: Comparison) -> str:
        """Return the level that a comparison lacks; empty where it lacks none."""
        needed = {factor: {left, right} for factor, left, right in comparison.pairs}
        needed |= {factor: {level} for factor, level in comparison.at}

        for factor, needed_levels in needed.items():
            words = FACTORS[factor]
            levels = self.levels[factor]
            if len(levels) == 1:
                return f"Nothing to compare: all runs are {words[levels[0]]}."
            if lacking := [
                level for level in words if level in needed_levels and level not in levels
            ]:
                return f"Nothing to compare: no runs {words[lacking[0]]}."

        return ""

    def _inseparable(self, comparison: Comparison) -> str:
        if any(
            comparison in Model(self, model.terms, blocks=False).estimators for model in self.models
        ):
            return "The cells that it compares have no seeds in common."
        if len(comparison.term) > 1:
            return f"Needs cells without runs: {_some(self.missing)}."

        last = self.models[-1]
        others = [term for term in last.terms if len(term) == 1 and term != comparison.term]
        names = [factor for term in others if not self._determined(term, last) for factor in term]
        return f"Cannot be told from {' and '.join(names)}: the runs change both at once."


def _some(cells: Sequence[FactorCell]) -> str:
    return cells[0].words + (", and others" if len(cells) > 1 else "")


def _columns(levels: Levels, term: Term) -> Matrix:
    """Return a term's columns, a row for each cell of the grid."""
    return _kron(
        _sum_to_zero(at) if factor in term else [[1.0]] * len(at) for factor, at in levels.items()
    )


def _sum_to_zero(levels: Sequence[object]) -> list[list[float]]:
    """Return a row for each level, with one column less than levels; each column adds up to
    zero.
    """
    last = len(levels) - 1
    return [
        [-1.0 if at == last else float(at == column) for column in range(last)]
        for at in range(len(levels))
    ]


def _kron(factors: Iterable[Sequence[Sequence[float]]]) -> Matrix:
    import numpy as np

    result: Matrix = np.ones((1, 1))
    for factor in factors:
        result = np.kron(result, np.array(factor))
    return result
