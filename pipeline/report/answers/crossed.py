"""The factorial's effects in words and in tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from pipeline.core.errors import UserError
from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.answers.answer import Evidence, Said
from pipeline.report.claims import TASK_NAMES
from pipeline.report.document import Table
from pipeline.report.effects import Analysis, Effect, Observation, TermTest, analyse
from pipeline.report.samples import SamplePicture, of_budget
from pipeline.report.trials import FactorialResults

POSITIONS = "shared over positions"
GROUPS = "channel groups"
DYNAMIC = "dynamic"
MAIN = {
    "shared over positions": "sharing over positions (yes minus no)",
    "channel − group": "weights of their own for every channel minus one set a group",
    "channel − all": "weights of their own for every channel minus one set for all",
    "group − all": "one set of weights a group of channels minus one set for all",
    "dynamic": "dynamic weights (minus static)",
}
HEAD = [
    "budget",
    "effect",
    "points",
    "95% interval",
    "t or F",
    "p",
    "p, adjusted",
    "smallest detectable",
    "runs",
    "stands on",
    "scale",
]


def analyses(factorial: FactorialResults | None) -> dict[str, Analysis]:
    """Return the analysis of each budget in which a cell finished, the longest training first.

    Raises:
        UserError: the cells do not fit together.
    """
    if factorial is None:
        return {}

    cells = factorial.design.cells
    by_budget: dict[str, Analysis] = {}
    for budget in factorial.budgets:
        observations = [
            Observation(
                setting=trial.setting,
                seed=trial.seed,
                value=trial.value,
                shared_positions=cell.shared_positions,
                channel_groups=cell.channel_groups,
                dynamic=cell.dynamic,
            )
            for trial in factorial.budget(budget)
            if trial.state == "finished"
            and trial.value is not None
            and (cell := cells.get(trial.setting))
        ]

        if observations:
            try:
                by_budget[budget] = analyse(observations)
            except UserError as error:
                raise UserError(
                    f"{factorial.folder} does not make a design: {error}; run its stage again"
                ) from None

    return by_budget


def effects(evidence: Evidence, factors: Iterable[str]) -> Said:
    """Return the main effects of these factors in the longest training, a sentence each."""
    mains = {(factor,) for factor in factors}
    if evidence.factorial is None or not evidence.analyses:
        return Said([], [])

    budget, analysis = next(iter(evidence.analyses.items()))
    chosen = [effect for effect in analysis.effects if effect.factors in mains]
    metric = evidence.factorial.design.metric
    holds = dict.fromkeys(effect.assumption for effect in chosen if effect.assumption)
    start = f"{opening(evidence, evidence.factorial, budget)}effects on {numbers.label(metric)}:"

    sentences = [start]
    for effect in chosen:
        sentences += [f"{told(metric, effect)}.", *levels(metric, analysis, effect)]
    sentences += holds
    return Said(sentences, cells(evidence.factorial, budget))


def cells(factorial: FactorialResults, budget: str) -> list[SamplePicture]:
    """Return the cells that finished in a budget."""
    return [
        sample
        for name, sample in of_budget(factorial, budget).items()
        if name in factorial.design.cells
    ]


def opening(evidence: Evidence, factorial: FactorialResults, budget: str) -> str:
    """How a sentence on a budget begins."""
    samples = cells(factorial, budget)
    small = any(sample.small for sample in samples)
    task = TASK_NAMES[factorial.design.task]

    return words.opened(
        f"in the factorial's budget `{budget}` ({task}), ",
        mixed=evidence.mixed,
        small=small,
        synthetic=factorial.design.data.synthetic,
    )


def title(factorial: FactorialResults, budget: str) -> str:
    """Return a plot's title: whose numbers these are, and of what scale."""
    of_scale = words.scale_of(
        any(sample.small for sample in cells(factorial, budget)), factorial.design.data.synthetic
    )
    return f"measured here, budget {budget}: {of_scale}" + (
        " scale" if of_scale == words.PAPERS else ""
    )


def told(metric: str, effect: Effect) -> str:
    """Return a main effect in words."""
    name = f"**{MAIN.get(effect.name, effect.name)}**"
    if effect.refused:
        return f"{name} cannot be stated ({lowered(effect.refused.rstrip('.'))})"
    settled = "" if effect.clear else ", not told apart from zero"

    return (
        f"{name} {numbers.signed(metric, effect.estimate)} points ({interval(metric, effect)}, "
        f"adjusted p {p_value(effect.p_adjusted)}, smallest detectable "
        f"{numbers.value(metric, effect.detectable)}{settled})"
    )


def levels(metric: str, analysis: Analysis, main: Effect) -> list[str]:
    """Return a main effect at the levels of what it changes with; nothing where it does not."""
    return [
        f"**{MAIN.get(main.name, main.name)}** is not the same throughout: "
        f"{', '.join(_at(metric, effect) for effect in group)}."
        for group in _together(analysis.by_level(main))
    ]


def whole(term: TermTest) -> str:
    """Name a term where it stands beside its pairs."""
    return f"{term.name} as a whole"


def table(evidence: Evidence) -> Table | None:
    """Return a line for each effect and budget, and for each term of several pairs before them."""
    factorial = evidence.factorial
    if factorial is None or not evidence.analyses:
        return None

    rows: list[list[str]] = []
    for budget, analysis in evidence.analyses.items():
        first = {term.effects[0].name: term for term in analysis.terms if term.rank > 1}
        for effect in analysis.effects:
            if term := first.get(effect.name):
                rows.append(_whole_line(factorial, budget, term))
            rows.append(_line(factorial, budget, effect))
    return Table(HEAD, rows, frozenset(range(2, 9)))


def simple_table(evidence: Evidence) -> Table | None:
    """Return a line for each main effect at a level of one other factor, in the longest
    training.
    """
    if evidence.factorial is None or not evidence.analyses:
        return None
    budget, analysis = next(iter(evidence.analyses.items()))
    metric = evidence.factorial.design.metric
    rows = [
        [
            effect.name,
            numbers.signed(metric, effect.estimate),
            _bounds(metric, effect),
            str(effect.runs),
            _scale(evidence.factorial, budget),
        ]
        for effect in analysis.simple
        if len(effect.comparison.at) == 1
    ]

    head = ["effect, at", "points", "95% interval", "runs", "scale"]
    return Table(head, rows, frozenset(range(1, 4))) if rows else None


def interval(metric: str, effect: Effect) -> str:
    """Return the 95% interval of an effect."""
    return (
        f"95% interval {numbers.signed(metric, effect.low)} to "
        f"{numbers.signed(metric, effect.high)}"
    )


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals; smaller ones are only said to be so."""
    if value is None:
        return numbers.NOTHING
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def lowered(text: str) -> str:
    """Return a sentence that goes on after a colon."""
    return text[:1].lower() + text[1:]


def _line(factorial: FactorialResults, budget: str, effect: Effect) -> list[str]:
    metric = factorial.design.metric
    return [
        f"`{budget}`",
        effect.name,
        numbers.signed(metric, effect.estimate),
        _bounds(metric, effect),
        _statistic(effect.t),
        p_value(effect.p),
        p_value(effect.p_adjusted),
        numbers.value(metric, effect.detectable),
        str(effect.runs) if effect.runs else numbers.NOTHING,
        effect.refused or effect.assumption or "all cells that it compares",
        _scale(factorial, budget),
    ]


def _whole_line(factorial: FactorialResults, budget: str, term: TermTest) -> list[str]:
    return [
        f"`{budget}`",
        whole(term),
        *[numbers.NOTHING] * 2,
        _statistic(term.f),
        p_value(term.p),
        p_value(term.p_adjusted),
        *[numbers.NOTHING] * 2,
        f"{term.rank} and {term.freedom} degrees of freedom",
        _scale(factorial, budget),
    ]


def _statistic(value: float | None) -> str:
    return numbers.NOTHING if value is None else f"{value:.2f}"


def _bounds(metric: str, effect: Effect) -> str:
    if effect.refused:
        return numbers.NOTHING
    return f"{numbers.signed(metric, effect.low)} to {numbers.signed(metric, effect.high)}"


def _scale(factorial: FactorialResults, budget: str) -> str:
    small = any(sample.small for sample in cells(factorial, budget))
    return words.scale_of(small, factorial.design.data.synthetic)


def _together(effects: Iterable[Effect]) -> Iterator[list[Effect]]:
    """Yield simple effects that fit one sentence: the levels of one factor, or a level of one at
    the levels of the other.
    """

    def alike(effect: Effect) -> tuple[object, ...]:
        *outer, (factor, _) = effect.comparison.at
        return (*outer, factor)

    for _, group in groupby(effects, key=alike):
        yield list(group)


def _at(metric: str, effect: Effect) -> str:
    return (
        f"{effect.comparison.place} {numbers.signed(metric, effect.estimate)} "
        f"({_bounds(metric, effect)})"
    )
