"""Every number that the report derives from results, as CSV for other programs: contrasts, costs,
effects, hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.core.csv import csv_lines
from pipeline.report.answers.all_tasks import verdict
from pipeline.report.answers.answer import Answer, Evidence
from pipeline.report.answers.crossed import whole
from pipeline.report.answers.words import scale
from pipeline.report.contrasts import Contrast
from pipeline.report.hours import hours
from pipeline.report.table import number

CONTRASTS = (
    "question",
    "kind",
    "where",
    "task",
    "left",
    "right",
    "metric",
    "difference",
    "sd",
    "low",
    "high",
    "detectable",
    "seeds",
    "p_t",
    "p_sign_flip",
    "left_beats_right",
    "images",
    "images_low",
    "images_high",
    "both_low",
    "both_high",
    "parameters_ratio",
    "margin",
    "verdict",
    "also_differs_in",
    "scale",
    "left_runs",
    "right_runs",
)
COSTS = (
    "where",
    "task",
    "left",
    "right",
    "measure",
    "left_value",
    "right_value",
    "ratio",
    "low",
    "high",
)
EFFECTS = (
    "budget",
    "effect",
    "metric",
    "estimate",
    "low",
    "high",
    "statistic",
    "p",
    "p_adjusted",
    "detectable",
    "runs",
    "seeds",
    "residual_sd",
    "degrees_of_freedom",
    "assumes",
    "refused",
)
HOURS = ("where", "device", "runs", "hours", "unit")


def contrasts_csv(
    answers: Sequence[Answer], more: Iterable[Contrast], margin: dict[str, float]
) -> str:
    """One line for each contrast of an answer, and for those that stand outside the answers."""
    of_answers = [
        (str(place), pair) for place, answer in enumerate(answers, 1) for pair in answer.contrasts
    ]

    return csv_lines(
        CONTRASTS,
        [
            _contrast(question, pair, margin)
            for question, pair in [*of_answers, *(("", m) for m in more)]
        ],
    )


def costs_csv(answers: Sequence[Answer]) -> str:
    """One line for each pair and measure."""
    return csv_lines(
        COSTS,
        [
            [
                pair.left.where,
                pair.left.task,
                pair.left.name,
                pair.right.name,
                cost.measure,
                number(cost.left),
                number(cost.right),
                number(cost.ratio),
                *map(number, cost.spread or (None, None)),
            ]
            for answer in answers
            for compared in answer.costs
            for pair in [compared.contrast]
            for cost in compared.found
        ],
    )


def effects_csv(evidence: Evidence) -> str:
    """One line for each budget and effect, refused ones with their reason.

    Then follow simple effects, and the F-test of each term of several pairs.
    """
    metric = evidence.factorial.design.metric if evidence.factorial else ""
    lines: list[list[str]] = []
    for budget, analysis in evidence.analyses.items():
        scatter = [str(len(analysis.seeds)), number(analysis.residual_sd), str(analysis.freedom)]
        for effect in (*analysis.effects, *analysis.simple):
            tested = (
                effect.estimate,
                effect.low,
                effect.high,
                effect.t,
                effect.p,
                effect.p_adjusted,
                effect.detectable,
            )
            stands = ["; ".join(effect.assumes), effect.refused]
            lines.append(
                [
                    budget,
                    effect.name,
                    metric,
                    *map(number, tested),
                    str(effect.runs),
                    *scatter,
                    *stands,
                ]
            )
        for term in (each for each in analysis.terms if each.rank > 1):
            tests = [*[""] * 3, number(term.f), number(term.p), number(term.p_adjusted), ""]
            runs = str(len(analysis.observations))
            lines.append([budget, whole(term), metric, *tests, runs, *scatter, "", ""])

    return csv_lines(EFFECTS, lines)


def hours_csv(evidence: Evidence) -> str:
    """One line for each budget, and for the search, on each device."""
    trials = [
        *(evidence.factorial.trials if evidence.factorial else ()),
        *(evidence.search.trials if evidence.search else ()),
    ]

    lines = [
        [spent.budget, spent.device, str(spent.runs), number(spent.value), spent.unit]
        for spent in hours(trials)
    ]
    return csv_lines(HOURS, lines)


def _contrast(question: str, pair: Contrast, margin: dict[str, float]) -> list[str]:
    difference = pair.difference
    low, high = (difference.interval if difference else None) or (None, None)
    within = margin.get(pair.metric, 0.0)
    images = pair.over_images
    sampled = [*(images.interval if images else (None, None))]
    sampled += [*((images.both if images else None) or (None, None))]

    return [
        question,
        pair.kind,
        pair.left.where,
        pair.left.task,
        pair.left.name,
        pair.right.name,
        pair.metric,
        number(difference.mean if difference else None),
        number(difference.sd if difference else None),
        number(low),
        number(high),
        number(difference.detectable if difference else None),
        str(difference.n if difference else 0),
        number(difference.p if difference else None),
        number(difference.sign_flip if difference else None),
        number(difference.beats if difference else None),
        str(images.images) if images else "",
        *map(number, sampled),
        number(pair.parameters_ratio),
        number(within),
        verdict(pair, within),
        "; ".join(pair.confounded),
        scale(pair),
        *(" ".join(run.run_id for run in side.runs) for side in (pair.left, pair.right)),
    ]
