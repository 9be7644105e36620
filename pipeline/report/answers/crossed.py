"""The factorial's effects in words and in tables."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.core.errors import UserError
from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.answers.answer import Evidence, Said
from pipeline.report.claims import TASK_NAMES
from pipeline.report.document import Table
from pipeline.report.effects import LEVEL, Analysis, Effect, Observation, analyse
from pipeline.report.samples import SamplePicture, of_budget
from pipeline.report.trials import FactorialResults

POSITIONS, GROUPS, DYNAMIC = "shared over positions", "channel groups", "dynamic"
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
    "p",
    "p, Holm",
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
    made: dict[str, Analysis] = {}
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
                made[budget] = analyse(observations)
            except UserError as error:
                raise UserError(
                    f"{factorial.folder} does not make a design: {error}; run its stage again"
                ) from None
    return made


def effects(evidence: Evidence, factors: Iterable[str]) -> Said:
    """Return the main effects of these factors in the longest training, a sentence each."""
    wanted = {(factor,) for factor in factors}
    if evidence.factorial is None or not evidence.analyses:
        return Said([], [])
    budget, analysis = next(iter(evidence.analyses.items()))
    chosen = [effect for effect in analysis.effects if effect.factors in wanted]
    metric = evidence.factorial.design.metric
    holds = dict.fromkeys(effect.assumption for effect in chosen if effect.assumption)
    start = f"{opening(evidence, evidence.factorial, budget)}effects on {numbers.label(metric)}:"
    said = [start, *(f"{told(metric, effect)}." for effect in chosen), *holds]
    return Said(said, cells(evidence.factorial, budget))


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
    settled = "" if clear(effect) else ", not told apart from zero"
    return (
        f"{name} {numbers.signed(metric, effect.estimate)} points ({interval(metric, effect)}, "
        f"Holm p {p_value(effect.p_adjusted)}, smallest detectable "
        f"{numbers.value(metric, effect.detectable)}{settled})"
    )


def table(evidence: Evidence) -> Table | None:
    """Return a line for each effect and budget."""
    factorial = evidence.factorial
    if factorial is None or not evidence.analyses:
        return None
    rows = [
        _line(factorial, budget, effect)
        for budget, made in evidence.analyses.items()
        for effect in made.effects
    ]
    return Table(HEAD, rows, frozenset(range(2, 8)))


def clear(effect: Effect) -> bool:
    """Whether an effect differs from none, after Holm's adjustment."""
    return effect.p_adjusted is not None and effect.p_adjusted < LEVEL


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
    bounds = (
        numbers.NOTHING
        if effect.refused
        else f"{numbers.signed(metric, effect.low)} to {numbers.signed(metric, effect.high)}"
    )
    small = any(sample.small for sample in cells(factorial, budget))
    return [
        f"`{budget}`",
        effect.name,
        numbers.signed(metric, effect.estimate),
        bounds,
        p_value(effect.p),
        p_value(effect.p_adjusted),
        numbers.value(metric, effect.detectable),
        str(effect.runs) if effect.runs else numbers.NOTHING,
        effect.refused or effect.assumption or "all cells that it compares",
        words.scale_of(small, factorial.design.data.synthetic),
    ]
