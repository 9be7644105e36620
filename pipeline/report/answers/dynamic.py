"""Question 2: dynamic weights."""

from __future__ import annotations

from pipeline.report import families
from pipeline.report.answers import crossed, missing
from pipeline.report.answers.answer import Answer, Evidence, of_contrasts
from pipeline.report.claims import TASKS
from pipeline.report.contrasts import declared_pairs, mixer_pairs

TITLE = "2. How much do dynamic weights add over static ones?"


def dynamic(evidence: Evidence) -> Answer:
    """Dynamic networks minus their static ones, and the two ways of computing weights."""
    results = evidence.results
    factorial = evidence.factorial
    static_ones = families.static()
    dynamic_ones = families.dynamic()
    contrasts = [
        *(
            pair
            for task in TASKS
            for pair in mixer_pairs("dynamic", results.of(task), dynamic_ones, static_ones)
        ),
        *declared_pairs(factorial, "weights"),
    ]

    lacking = [
        *missing.of_mixer(
            results,
            any(pair.kind == "dynamic" for pair in contrasts),
            (*static_ones, *dynamic_ones),
        ),
        *missing.seeds(results, contrasts),
        *missing.factorial(evidence),
    ]

    return of_contrasts(
        evidence, 2, TITLE, contrasts, crossed.effects(evidence, (crossed.DYNAMIC,)), lacking
    )
