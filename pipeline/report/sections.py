"""The report in blocks, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.params import Params
from pipeline.report import numbers
from pipeline.report.beside import beside_published, not_run
from pipeline.report.claims import TASKS
from pipeline.report.contrasts import Contrast, against_baseline, kernel_pairs
from pipeline.report.document import Block, Bullets, Figure, Heading, Paragraph, Table
from pipeline.report.questions import TASK_NAMES, questions
from pipeline.report.reading import how_to_read
from pipeline.report.results import Metrics, Results
from pipeline.report.scale import small_because
from pipeline.report.variants import variant_tables
from pipeline.report.verdict import Judged

INTRODUCTION = """
What this project measured, beside the numbers published with arXiv 2106.04263 (Han et al., on the connection between
local attention and dynamic depth-wise convolution). Its networks are one backbone with different ways of mixing
neighbours.
"""
CONTRASTS = """
Differences of the last evaluation, paired by seed, with a 95% t-interval over the seeds that both runs have. One seed
gives no interval and so no statement. The intervals are not widened for being many. Swin and the depth-wise networks
differ in normalisation and in the rest of the block too, as they do in the paper, and networks differ in parameters.
"""
NOTHING_RUN = """
**Nothing has been run yet.** Below stand the published numbers, and the commands that would put measured ones beside
them.
"""
SYNTHETIC = """
**Small-scale run on synthetic data.** It shows that the machinery works. It gives no answer about vision, and none
about the paper.
"""
SMALL = "**Small-scale run.** Its numbers stand for themselves; none of them confirms or contradicts a published one."


@dataclass(frozen=True)
class Material:
    """All that the report is made from; `folder` is where it will lie."""

    params: Params
    results: Results
    judged: list[Judged]
    pictures: list[Figure]
    folder: Path


def report(material: Material) -> list[Block]:
    """The whole report."""
    results = material.results
    return [
        Heading(1, "Local attention and depth-wise convolution: measured beside published"),
        _paragraph(INTRODUCTION),
        *_scale(results),
        Heading(2, "Variants"),
        *variant_tables(results, material.folder),
        Heading(2, "Measured beside published"),
        *beside_published(material.judged),
        Heading(2, "Contrasts"),
        *_contrasts(results),
        Heading(2, "Plots"),
        *material.pictures,
        *([] if material.pictures else [Paragraph("Nothing to draw yet.")]),
        Heading(2, "Five questions"),
        *questions(results),
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
    blocks: list[Block] = [_paragraph(_reach([metrics for _, metrics in runs]), notice=bool(reasons) or not runs)]
    if reasons:
        items = [f"{TASK_NAMES[task]}, {', '.join(names)}: {'; '.join(why)}." for (task, why), names in reasons.items()]
        blocks += [Paragraph("Why these are small-scale runs, with the paper's figure in brackets:"), Bullets(items)]
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
    caution = " Those on synthetic data show the machinery and give no answer about vision." if synthetic else ""
    if len(small) == len(runs):
        return SMALL + caution
    return f"**{len(small)} of {len(runs)} runs are small-scale runs**, listed below with the reasons.{caution}"


def _contrasts(results: Results) -> list[Block]:
    blocks: list[Block] = []
    for task in TASKS:
        trained = results.of(task)
        for title, found in (
            ("against the baseline", against_baseline(trained)),
            ("kernel size alone", kernel_pairs(trained)),
        ):
            if found:
                blocks.append(Heading(3, f"{TASK_NAMES[task].capitalize()}: {title}"))
                blocks.append(_contrast_table(found))
    if not blocks:
        return [Paragraph("A contrast takes two runs of one task; there are none yet.")]
    return [_paragraph(CONTRASTS), *blocks]


def _contrast_table(contrasts: list[Contrast]) -> Table:
    rows = [
        [
            f"`{contrast.left.name}` minus `{contrast.right.name}`",
            numbers.signed(contrast.metric, difference.mean if difference else None),
            numbers.value(contrast.metric, difference.sd if difference else None),
            numbers.interval(contrast.metric, difference) if difference else "no seed in common",
            str(difference.n if difference else 0),
            ", ".join(contrast.confounded) or "nothing",
        ]
        for contrast in contrasts
        for difference in (contrast.difference,)
    ]
    points = f"{numbers.label(contrasts[0].metric)}, points"
    head = ["contrast", points, "sd", "95% interval", "seeds", "recipe or data differ in"]
    return Table(head, rows, frozenset({1, 2, 3, 4}))


def _paragraph(text: str, notice: bool = False) -> Paragraph:
    return Paragraph(" ".join(text.split()), notice)
