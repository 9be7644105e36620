"""The report in blocks, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.params import Params
from pipeline.report.answers.answer import Answer, Evidence
from pipeline.report.answers.words import table
from pipeline.report.beside import beside_published, not_run
from pipeline.report.claims import TASK_NAMES, TASKS
from pipeline.report.contrasts import against_baseline
from pipeline.report.document import Block, Bullets, Figure, Heading, Paragraph
from pipeline.report.factorial_section import factorial_blocks
from pipeline.report.reading import how_to_read
from pipeline.report.results import Results
from pipeline.report.scale import small_because
from pipeline.report.search_section import search_blocks
from pipeline.report.tracked import Tracked
from pipeline.report.variants import variant_tables
from pipeline.report.verdict import Judged
from pipeline.runs.results import Metrics

INTRODUCTION = """
What this project measured, beside the numbers published with arXiv 2106.04263 (Han et al., on the
connection between local attention and dynamic depth-wise convolution). Its networks are one
backbone with different ways of mixing neighbours.
"""
BASELINE = """
Every run minus Swin of its size, or minus the first run of its size where Swin was not run:
differences of the last evaluation, paired by seed, with a 95% t-interval over the seeds that both
have. One seed gives no interval and so no statement. The intervals are not widened for being many.
"""
FIVE = """
What the runs at hand say to the questions of the experiment. Each answer names the runs that it
stands on, how sure it is, and what would have to be run to say more. {links}
"""
NOTHING_RUN = """
**Nothing has been run yet.** Below stand the published numbers, and the commands that would put
measured ones beside them.
"""
SYNTHETIC = """
**Small-scale run on synthetic data.** It shows that the machinery works. It gives no answer about
vision, and none about the paper.
"""
SMALL = (
    "**Small-scale run.** Its numbers stand for themselves; none of them confirms or "
    "contradicts a published one."
)


@dataclass(frozen=True)
class Material:
    """All that the report is made from; `folder` is where it will lie."""

    params: Params
    evidence: Evidence
    answers: list[Answer]
    judged: list[Judged]
    pictures: list[Figure]
    tracked: Tracked
    folder: Path


def report(material: Material) -> list[Block]:
    """Return the whole report."""
    results, tracked = material.evidence.results, material.tracked
    return [
        Heading(1, "Local attention and depth-wise convolution: measured beside published"),
        _paragraph(INTRODUCTION),
        *_scale(results),
        Heading(2, "Five questions"),
        _paragraph(FIVE.format(links=tracked.explained)),
        *(block for answer in material.answers for block in answer.blocks(tracked)),
        Heading(2, "Variants"),
        *variant_tables(results, material.folder, tracked),
        Heading(2, "Measured beside published"),
        *beside_published(material.judged),
        Heading(2, "Against the baseline"),
        *_against_baseline(results),
        Heading(2, "Search"),
        *search_blocks(material.evidence.search, tracked),
        Heading(2, "Factorial"),
        *factorial_blocks(material.evidence, tracked),
        Heading(2, "Plots"),
        *material.pictures,
        *([] if material.pictures else [Paragraph("Nothing to draw yet.")]),
        Heading(2, "How to read this"),
        Bullets(how_to_read(material.params.compare)),
        Heading(2, "Not run"),
        *not_run(material.judged),
    ]


def _scale(results: Results) -> list[Block]:
    """Say first how far the numbers reach."""
    runs = [(result, result.metrics) for result in results.run if result.metrics]
    reasons: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for result, metrics in runs:
        if why := small_because(metrics):
            reasons.setdefault((result.task, why), []).append(f"`{result.name}`")
    blocks: list[Block] = [
        _paragraph(_reach([metrics for _, metrics in runs]), notice=bool(reasons) or not runs)
    ]
    if reasons:
        items = [
            f"{TASK_NAMES[task]}, {', '.join(names)}: {'; '.join(why)}."
            for (task, why), names in reasons.items()
        ]
        blocks += [
            Paragraph("Why these are small-scale runs, with the paper's figure in brackets:"),
            Bullets(items),
        ]
    if results.notes:
        blocks.append(Bullets(list(results.notes)))
    return blocks


def _reach(runs: list[Metrics]) -> str:
    small = [metrics for metrics in runs if small_because(metrics)]
    synthetic = [metrics for metrics in small if metrics.data.synthetic]
    if not runs:
        return NOTHING_RUN
    if not small:
        return "Every run here has the paper's data, size and length."
    if len(synthetic) == len(runs):
        return SYNTHETIC
    caution = (
        " Those on synthetic data show the machinery and give no answer about vision."
        if synthetic
        else ""
    )
    if len(small) == len(runs):
        return SMALL + caution
    return (
        f"**{len(small)} of {len(runs)} runs are small-scale runs**, listed below with the "
        f"reasons.{caution}"
    )


def _against_baseline(results: Results) -> list[Block]:
    blocks: list[Block] = []
    for task in TASKS:
        if found := table(against_baseline(results.of(task))):
            blocks += [Heading(3, f"{TASK_NAMES[task].capitalize()}: against the baseline"), found]
    return (
        [_paragraph(BASELINE), *blocks] if blocks else [Paragraph("It takes two runs of one task.")]
    )


def _paragraph(text: str, notice: bool = False) -> Paragraph:
    return Paragraph(" ".join(text.split()), notice)
