"""The contrasts that a study was made for, judged together by one rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt

from pipeline.core.csv import csv_lines
from pipeline.params import Compare
from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.answers.answer import Drawing
from pipeline.report.contrasts import Contrast, contrast
from pipeline.report.document import Block, Heading, Paragraph, Table, code, plain
from pipeline.report.forest import forest
from pipeline.report.gate import LEVEL, TermAndPairs, adjusted, detectable
from pipeline.report.results import Results
from pipeline.report.samples import of_variant
from pipeline.report.table import number

TOLD_APART = "told apart"
ALIKE = "alike"
UNSETTLED = "not told apart"
NOT_RUN = "not run"
KIND = "primary"
RULE = """
Named in `compare.primary` as left minus right. A difference is told apart where the t-tests over
seeds, and over seeds and images together, both find it at 5%, adjusted for all {count} (Holm). Two
networks are alike where both 95% intervals lie within the tolerance. The smallest detectable
difference has as many seeds, the scatter over seeds that was seen, and stands alone among the
{count}.
"""
CAPTION = """
Primary contrasts: differences in points with 95% intervals over paired seeds; the band is the
tolerance within which two networks are called alike.
""".strip()
HEAD = [
    "contrast",
    "left minus right",
    "points",
    "95%, seeds",
    "95%, seeds and images",
    "seeds",
    "adjusted p",
    "smallest detectable",
    "verdict",
    "scale",
]
FIELDS = (
    "name",
    "task",
    "left",
    "right",
    "metric",
    "difference",
    "sd",
    "seeds",
    "low",
    "high",
    "both_low",
    "both_high",
    "p",
    "p_both",
    "p_adjusted",
    "detectable",
    "tolerance",
    "verdict",
    "also_differs_in",
    "scale",
)


@dataclass(frozen=True)
class PrimaryContrast:
    """One contrast of the study, left minus right; `compared` is None until both sides are run.

    `p_adjusted` holds over all contrasts of the study; `detectable` is the true difference that
    this rule tells apart in 80% of repetitions.
    """

    name: str
    stages: tuple[str, str]
    compared: Contrast | None
    tolerance: float
    p_adjusted: float | None = None
    detectable: float | None = None

    @property
    def verdict(self) -> str:
        """What the rule says."""
        if self.compared is None or self.compared.difference is None:
            return NOT_RUN
        apart = self.p_adjusted is not None and self.p_adjusted < LEVEL
        alike = _within(self.compared, self.tolerance)
        return ", and ".join(
            [TOLD_APART] * apart + [f"{ALIKE} within {self.tolerance:g}"] * alike or [UNSETTLED]
        )


def primary_contrasts(results: Results, compare: Compare) -> list[PrimaryContrast]:
    """Compare what the parameters name; those that lack a side count in the adjustment, too."""
    found = [_compared(results, stages) for stages in compare.primary.values()]
    raw = [_p(compared) for compared in found]
    levels = adjusted([TermAndPairs(p, (p,)) for p in (1.0 if p is None else p for p in raw)])

    return [
        PrimaryContrast(
            name,
            stages,
            compared,
            compare.tolerance.get(compared.metric, 0.0) if compared else 0.0,
            None if p is None else level.term,
            _detectable(compared, len(found)),
        )
        for (name, stages), compared, p, level in zip(
            compare.primary.items(), found, raw, levels, strict=True
        )
    ]


def primary_blocks(contrasts: Sequence[PrimaryContrast]) -> list[Block]:
    """Return the section; nothing where a study names no contrasts."""
    if not contrasts:
        return []

    rule = " ".join(RULE.format(count=len(contrasts)).split())
    rows = [_row(each) for each in contrasts]
    drawing = primary_drawing(contrasts)
    return [
        Heading(2, "Primary contrasts"),
        Paragraph(rule),
        Table(HEAD, rows, frozenset(range(2, 8))),
        *([drawing.figure] if drawing else []),
    ]


def primary_drawing(contrasts: Sequence[PrimaryContrast]) -> Drawing | None:
    """Return the picture of those that have been run: intervals over seeds, tolerances behind."""
    pairs = [each.compared for each in contrasts if each.compared]
    if not pairs:
        return None

    margin = {each.compared.metric: each.tolerance for each in contrasts if each.compared}
    plot = partial(forest, pairs, margin=margin)
    return Drawing("primary.svg", CAPTION, plot, words.values(pairs))


def primary_csv(contrasts: Sequence[PrimaryContrast]) -> str:
    """One line for each contrast of the study."""
    return csv_lines(FIELDS, [_line(each) for each in contrasts])


def _compared(results: Results, stages: tuple[str, str]) -> Contrast | None:
    run = {result.stage: result for result in results.run}
    sides = [
        of_variant(result, result.metrics)
        for stage in stages
        if (result := run.get(stage)) and result.metrics
    ]
    return contrast(KIND, *sides) if len(sides) == len(stages) else None


def _p(compared: Contrast | None) -> float | None:
    """Return the larger p of the tests that a difference has to pass."""
    difference = compared.difference if compared else None
    if compared is None or difference is None or difference.p is None:
        return None
    images = compared.over_images
    return difference.p if images is None else max(difference.p, images.p or difference.p)


def _within(compared: Contrast, tolerance: float) -> bool:
    """Whether all that is known of a difference lies within a tolerance."""
    difference = compared.difference
    images = compared.over_images
    intervals = [difference.interval if difference else None]
    intervals += [images.both] if images else []
    return all(
        interval is not None and -tolerance <= interval[0] and interval[1] <= tolerance
        for interval in intervals
    )


def _detectable(compared: Contrast | None, count: int) -> float | None:
    difference = compared.difference if compared else None
    if difference is None or difference.sd is None:
        return None
    return detectable(1, difference.n - 1, count) * difference.sd / sqrt(difference.n)


def _row(each: PrimaryContrast) -> list[str]:
    sides = " minus ".join(code(stage.partition("@")[2]) for stage in each.stages)
    compared = each.compared
    difference = compared.difference if compared else None
    name = plain(each.name.replace("_", " "))
    if compared is None or difference is None:
        nothing = [numbers.NOTHING] * (len(HEAD) - 4)
        return [name, sides, *nothing, each.verdict, numbers.NOTHING]

    metric = compared.metric
    images = compared.over_images
    both = numbers.ends(metric, images.both) if images and images.both else numbers.NOTHING
    p = each.p_adjusted
    return [
        f"{name}; {words.located(compared.left)}",
        sides,
        numbers.signed(metric, difference.mean),
        numbers.interval(metric, difference),
        both,
        str(difference.n),
        numbers.NOTHING if p is None else f"{p:.2g}",
        numbers.value(metric, each.detectable),
        f"**{each.verdict}**",
        words.scale(compared),
    ]


def _line(each: PrimaryContrast) -> list[str]:
    compared = each.compared
    difference = compared.difference if compared else None
    images = compared.over_images if compared else None
    task = each.stages[0].partition("@")[0]
    names = [stage.partition("@")[2] for stage in each.stages]

    return [
        each.name,
        task,
        *names,
        compared.metric if compared else "",
        number(difference.mean if difference else None),
        number(difference.sd if difference else None),
        str(difference.n if difference else 0),
        *map(number, (difference.interval if difference else None) or (None, None)),
        *map(number, (images.both if images else None) or (None, None)),
        number(difference.p if difference else None),
        number(images.p if images else None),
        number(each.p_adjusted),
        number(each.detectable),
        number(each.tolerance),
        each.verdict,
        "; ".join(compared.confounded) if compared else "",
        words.scale(compared) if compared else "",
    ]
