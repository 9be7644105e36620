"""Question 1: sparse connectivity and weight sharing."""

from __future__ import annotations

from pipeline.report.answers import crossed, missing
from pipeline.report.answers.answer import Answer, Evidence, of_contrasts
from pipeline.report.claims import TASKS
from pipeline.report.contrasts import (
    control_pairs,
    declared_pairs,
    kernel_pairs,
    mixer_pairs,
    search_pairs,
    sharing_pairs,
)
from pipeline.report.families import static, unshared

TITLE = "1. What do sparse connectivity and weight sharing contribute?"


def sharing(evidence: Evidence) -> Answer:
    """Kernel sizes, neighbourhoods, sharing over positions and over channels."""
    results = evidence.results
    factorial = evidence.factorial
    search = evidence.search
    contrasts = [
        *(pair for task in TASKS for pair in kernel_pairs(results.of(task))),
        *search_pairs(search, "search kernel", "kernel_size"),
        *declared_pairs(factorial, "neighbourhood"),
        *(pair for task in TASKS for pair in sharing_pairs(results.of(task))),
        *search_pairs(search, "search groups", "group_channels"),
        *(
            pair
            for task in TASKS
            for pair in mixer_pairs("unshared", results.of(task), static(), unshared())
        ),
        *control_pairs(factorial),
    ]

    kinds = {pair.kind for pair in contrasts}
    lacking = [
        *missing.of_kind(
            results, "kernel" in kinds, static(), "a second kernel size", "kernel_size: 3", "k3"
        ),
        *missing.of_kind(
            results,
            "groups" in kinds,
            static(),
            "channels that share weights",
            "group_channels: 8",
            "g8",
        ),
        *missing.of_mixer(results, "unshared" in kinds, unshared()),
        *missing.seeds(results, contrasts),
        *missing.factorial(evidence),
        *missing.search(evidence),
    ]

    return of_contrasts(
        evidence,
        1,
        TITLE,
        contrasts,
        crossed.effects(evidence, (crossed.POSITIONS, crossed.GROUPS)),
        lacking,
    )
