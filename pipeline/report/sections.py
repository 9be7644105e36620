"""The report in blocks, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.params import Params
from pipeline.report.answers.answer import Answer, Evidence
from pipeline.report.answers.words import CAVEATS, sampled, table
from pipeline.report.beside import beside_published, not_run
from pipeline.report.claims import TASK_NAMES, TASKS, Claim
from pipeline.report.classes import class_blocks
from pipeline.report.contrasts import against_baseline
from pipeline.report.document import Block, Bullets, Figure, Folded, Heading, Paragraph
from pipeline.report.factorial_section import factorial_blocks
from pipeline.report.first import first_screen
from pipeline.report.primary import PrimaryContrast, primary_blocks
from pipeline.report.provenance import provenance
from pipeline.report.reading import how_to_read
from pipeline.report.results import Results
from pipeline.report.scale import small_because
from pipeline.report.search_section import search_blocks
from pipeline.report.tracked import Tracked
from pipeline.report.variants import variant_tables
from pipeline.report.verdict import Judged

BASELINE = """
Every run minus Swin of its size, or minus the first run of its size where Swin was not run.
Differences are of the last evaluation, paired by seed, with a 95% t-interval over the seeds that
both have.
"""
FIVE = """
What holds for all answers stands here, once. {links}
"""
SCATTER = "accuracy_over_"
"""How the pictures that belong to the results begin."""
WHY_SMALL = "Why these are small-scale runs, with the paper's figure in brackets"


@dataclass(frozen=True)
class Material:
    """All that the report is made from.

    `folder` is where it will lie in the `project`, `dated` the day of each commit that git knows.
    """

    params: Params
    evidence: Evidence
    answers: list[Answer]
    primary: list[PrimaryContrast]
    judged: list[Judged]
    pictures: list[Figure]
    tracked: Tracked
    folder: Path
    project: Path
    claims: list[Claim]
    dated: Mapping[str, str]


def report(material: Material) -> list[Block]:
    """Return the whole report."""
    results = material.evidence.results
    tracked = material.tracked
    pairs = [pair for answer in material.answers for pair in answer.contrasts]

    return [
        Heading(1, "Local attention beside depth-wise convolution"),
        *first_screen(
            results, material.answers, material.claims, material.evidence.margin, material.dated
        ),
        *primary_blocks(material.primary),
        Heading(2, "Results"),
        *variant_tables(results, material.folder, tracked),
        *(picture for picture in material.pictures if picture.file.startswith(SCATTER)),
        *_scale(results),
        Heading(2, "Five questions"),
        _paragraph(FIVE.format(links=tracked.explained)),
        Bullets([*CAVEATS, sampled(pairs)]),
        *(block for answer in material.answers for block in answer.blocks(tracked)),
        Heading(2, "Measured beside published"),
        *beside_published(material.judged),
        Heading(2, "Against the baseline"),
        *_against_baseline(results),
        *class_blocks(results),
        Heading(2, "Search"),
        *search_blocks(material.evidence, tracked),
        Heading(2, "Factorial"),
        *factorial_blocks(material.evidence, tracked),
        Heading(2, "Plots"),
        *(picture for picture in material.pictures if not picture.file.startswith(SCATTER)),
        *([] if material.pictures else [Paragraph("Nothing to draw yet.")]),
        Heading(2, "How to read this"),
        Bullets(how_to_read(material.params.compare)),
        Heading(2, "Provenance"),
        *provenance(results, material.dated, material.project),
        Heading(2, "Not run"),
        *not_run(material.judged),
    ]


def _scale(results: Results) -> list[Block]:
    """Say why runs are small, and what is odd about them."""
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for result in results.run:
        if result.metrics and (why := small_because(result.metrics)):
            reasons.setdefault((result.task, why), []).append(f"`{result.name}`")

    items = [
        f"{TASK_NAMES[task]}, {', '.join(names)}: {'; '.join(why)}."
        for (task, why), names in reasons.items()
    ]

    blocks: list[Block] = [Bullets(list(results.notes))] if results.notes else []
    return [*blocks, Folded(WHY_SMALL, [Bullets(items)])] if items else blocks


def _against_baseline(results: Results) -> list[Block]:
    blocks: list[Block] = []
    for task in TASKS:
        if contrasts_table := table(against_baseline(results.of(task))):
            blocks += [
                Heading(3, f"{TASK_NAMES[task].capitalize()}: against the baseline"),
                contrasts_table,
            ]

    return (
        [_paragraph(BASELINE), *blocks] if blocks else [Paragraph("It takes two runs of one task.")]
    )


def _paragraph(text: str) -> Paragraph:
    return Paragraph(" ".join(text.split()))
