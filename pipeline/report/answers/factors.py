"""Question 4: main effects and interactions of the three factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.report import numbers
from pipeline.report.answers import crossed, missing, words
from pipeline.report.answers.answer import Answer, Drawing, Evidence, joined
from pipeline.report.document import code
from pipeline.report.effects import Analysis, Effect
from pipeline.report.hours import hours
from pipeline.report.trials import FactorialResults

TITLE = "4. How large are the factors beside each other?"
NAMES = (
    "Channel, group, all: every channel has its own weights, groups of channels share them, "
    "all channels share them."
)
CAPTION = """
Effects on accuracy with 95% intervals, in the longest training; effects that the runs cannot
separate have a reason in place of a number.
"""


def factors(evidence: Evidence) -> Answer:
    """Return the factorial's analysis; without a factorial nothing can be said, and saying so beats
    ranking other runs.
    """
    factorial = evidence.factorial
    lacking = missing.factorial(evidence)
    if factorial is None or not evidence.analyses:
        return Answer(TITLE, [], None, None, [], [], lacking)
    budget, analysis = next(iter(evidence.analyses.items()))
    start = crossed.opening(evidence, factorial, budget)
    metric = factorial.design.metric
    mains = [effect for effect in analysis.effects if len(effect.factors) == 1]
    crossings = [effect for effect in analysis.effects if len(effect.factors) > 1]

    sentences = [
        *_terms(start, analysis),
        *_ranked(start, "main effects", metric, mains),
        *(line for effect in mains for line in crossed.levels(metric, analysis, effect)),
        *_ranked(start, "interactions", metric, crossings),
        *_refused(start, analysis),
        *_not_run(factorial),
        *_hours(factorial),
    ]

    values = [_short(metric, effect) for effect in analysis.effects if not effect.refused]
    drawing = Drawing(
        "effects.svg",
        " ".join(CAPTION.split()),
        _plot(evidence, budget),
        f"Values: {'; '.join(values) or 'none'}.",
    )
    samples = joined(
        sample for each in evidence.analyses for sample in crossed.cells(factorial, each)
    )
    table = crossed.table(evidence)

    return Answer(
        TITLE,
        sentences,
        drawing,
        table,
        samples,
        _certainty(factorial, evidence.analyses),
        lacking,
        brief="; ".join(
            f"{_short(metric, effect)}{_changing(analysis, effect)}"
            for effect in mains
            if not effect.refused
        ),
    )


def _short(metric: str, effect: Effect) -> str:
    points = numbers.signed(metric, effect.estimate)
    low, high = (numbers.signed(metric, end) for end in (effect.low, effect.high))
    return f"{effect.name} {points} ({low} to {high})"


def _changing(analysis: Analysis, main: Effect) -> str:
    """Name the factors that a main effect changes with."""
    others = dict.fromkeys(
        factor for effect in analysis.by_level(main) for factor, _ in effect.comparison.at
    )
    return f", changing with {words.listed(others)}" if others else ""


def _terms(start: str, analysis: Analysis) -> list[str]:
    """Return which terms as a whole are told apart from zero, those with most evidence first."""
    ranked = sorted(analysis.terms, key=lambda term: term.p)
    settled, rest = ([t.name for t in ranked if t.clear is clear] for clear in (True, False))
    if not ranked:
        return []

    others = f" Not told apart: {', '.join(rest)}." if settled and rest else ""
    return [f"{start}terms told apart from zero: {', '.join(settled) or 'none'}.{others}"]


def _ranked(start: str, what: str, metric: str, effects: list[Effect]) -> list[str]:
    """Effects that are told apart from zero, those with most evidence first, and what is known of
    the rest.
    """
    stated = sorted((e for e in effects if not e.refused), key=lambda e: -abs(e.t or 0.0))
    if not stated:
        return []

    settled = [e for e in stated if e.clear]
    listed = ". ".join(_brief(metric, effect) for effect in settled)
    sentence = (
        f"{start}{what} told apart from zero, most evidence first: {listed}."
        if settled
        else (
            f"{start}none of the {what} is told apart from zero. Most evidence: "
            f"{_brief(metric, stated[0])}."
        )
    )

    if rest := [effect for effect in stated if not effect.clear]:
        reach = numbers.value(metric, max(effect.detectable or 0.0 for effect in rest))
        others = "the others" if settled else "them"
        sentence += f" An effect of up to {reach} points can hide in {others}."

    return [sentence]


def _brief(metric: str, effect: Effect) -> str:
    points = numbers.signed(metric, effect.estimate)
    return (
        f"**{effect.name}** {points} ({crossed.interval(metric, effect)}, adjusted p "
        f"{crossed.p_value(effect.p_adjusted)})"
    )


def _refused(start: str, analysis: Analysis) -> list[str]:
    """Effects that the runs cannot separate, by reason."""
    reasons: dict[str, list[str]] = {}
    for effect in analysis.effects:
        if effect.refused:
            reasons.setdefault(effect.refused, []).append(effect.name)

    return [
        f"{start}these are not stated: {', '.join(names)}. {reason}"
        for reason, names in reasons.items()
    ]


def _not_run(factorial: FactorialResults) -> list[str]:
    left_out = "; ".join(
        f"`{name}` ({code(reason)})" for name, reason in factorial.design.left_out.items()
    )
    failed = dict.fromkeys(
        f"`{trial.setting}`" for trial in factorial.trials if trial.state == "failed"
    )

    return [
        *([f"Settings that could not be run: {left_out}."] if left_out else []),
        *([f"Settings with runs that failed: {', '.join(failed)}."] if failed else []),
    ]


def _hours(factorial: FactorialResults) -> list[str]:
    small = any(
        sample.small for budget in factorial.budgets for sample in crossed.cells(factorial, budget)
    )
    phrases = [
        f"budget `{spent.budget}` {spent.words} on {code(spent.device)}"
        for spent in hours(factorial.trials)
    ]

    return (
        [f"It took {'as a small-scale run ' if small else ''}{', '.join(phrases)}."]
        if phrases
        else []
    )


def _certainty(factorial: FactorialResults, analyses: Mapping[str, Analysis]) -> list[str]:
    lines = []
    for budget, analysis in analyses.items():
        spread = numbers.value(factorial.design.metric, analysis.residual_sd)
        lines.append(
            f"Budget `{budget}`: {numbers.seeds(len(analysis.seeds))}, a scatter of {spread} "
            "points "
            "over seeds with "
            f"{analysis.freedom} degrees of freedom."
        )

    lines.append(NAMES)
    lines.append(
        "Cells differ in parameters; question 1 sets those beside a plain control of as many "
        "that have one."
    )
    return lines


def _plot(evidence: Evidence, budget: str) -> Callable[[Path], None]:
    def plot(path: Path) -> None:
        from pipeline.report.effect_figures import forest

        if evidence.factorial is not None:
            title = crossed.title(evidence.factorial, budget)
            forest(evidence.analyses[budget], evidence.factorial.design.metric, title, path)

    return plot
