"""An answer: what is said, what it stands on, how sure it is, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.answers.costs import RunCosts
from pipeline.report.contrasts import Contrast
from pipeline.report.document import Block, Bullets, Figure, Folded, Heading, Paragraph, Table, code
from pipeline.report.effects import Analysis
from pipeline.report.forest import forest
from pipeline.report.results import Results
from pipeline.report.samples import SamplePicture, of_budget, of_search, of_variant
from pipeline.report.tracked import Tracked
from pipeline.report.trials import FactorialResults, SearchResults

CAPTION = """
Differences in points with 95% intervals over paired seeds; a hollow mark comes from one seed and
has no interval.
""".strip()
KEY = ("unshared", "dynamic", "swin", "static swin")
"""The kinds of contrast that answer a question by themselves."""
SYNTHETIC = "**Synthetic data: this shows the machinery, no answer about vision.**"
SMALL = "**From a small-scale run: no answer at the paper's scale.**"
PARTLY = (
    "**Partly from small-scale runs; each is named so and gives no answer at the paper's scale.**"
)


@dataclass(frozen=True)
class Drawing:
    """A picture that is drawn when the report is written."""

    file: str
    caption: str
    plot: Callable[[Path], None]
    values: str = ""

    @property
    def figure(self) -> Figure:
        """Its place in the report."""
        return Figure(self.file, self.caption, self.values)


@dataclass(frozen=True)
class Evidence:
    """All that answers are made from.

    `analyses` are the factorial's, by budget, the longest training first; `margin` is what counts
    as a difference, in points of each metric.
    """

    results: Results
    factorial: FactorialResults | None
    search: SearchResults | None
    analyses: Mapping[str, Analysis]
    margin: dict[str, float]

    @cached_property
    def mixed(self) -> bool:
        """Whether runs of several scales are at hand, so that a sentence has to name its own."""
        samples = [of_variant(run, run.metrics) for run in self.results.run if run.metrics]
        if self.factorial:
            budgets = [of_budget(self.factorial, budget) for budget in self.factorial.budgets]
            samples += [
                sample for samples_of_budget in budgets for sample in samples_of_budget.values()
            ]
        if self.search:
            samples += [sample for _, sample in of_search(self.search)]

        return len({(bool(sample.small), sample.synthetic) for sample in samples}) > 1


@dataclass(frozen=True)
class Said:
    """What the factorial adds to an answer."""

    sentences: list[str]
    samples: list[SamplePicture]


@dataclass(frozen=True)
class Answer:
    """One question; without `sentences` the present runs say nothing about it.

    `brief` says it in a few words, where contrasts do not.
    """

    title: str
    sentences: list[str]
    figure: Drawing | None
    table: Table | None
    runs: list[SamplePicture]
    certainty: list[str]
    missing: list[str]
    contrasts: tuple[Contrast, ...] = ()
    costs: tuple[RunCosts, ...] = ()
    brief: str = ""

    @property
    def key(self) -> list[Contrast]:
        """The contrasts that answer by themselves: those of variants, where there are any."""
        pairs = [pair for pair in self.contrasts if pair.kind in KEY and not pair.left.where]
        return pairs or list(self.contrasts)

    @property
    def told(self) -> str:
        """The answer in one sentence: the first two networks, in every task that has them."""
        if self.brief or not self.key:
            return self.brief

        first = max(self.key, key=lambda pair: pair.difference.n if pair.difference else 0)
        names = (first.left.name, first.right.name)
        same = [pair for pair in self.key if (pair.left.name, pair.right.name) == names]
        parts = [
            f"{numbers.label(pair.metric)} {numbers.signed(pair.metric, pair.difference.mean)} "
            f"({numbers.interval(pair.metric, pair.difference)})"
            for pair in same
            if pair.difference
        ]
        more = f"; {len(self.key)} pairs in all" if len(self.key) > len(same) else ""
        text = ", ".join(parts) or "no seed in common"

        return f"{code(names[0])} minus {code(names[1])}: {text}{more}."

    def blocks(self, tracked: Tracked) -> list[Block]:
        """Return the answer: one sentence, picture, table, what that says, and how sure it is."""
        first = (
            _caution(self.runs) or f"**{self.told or 'The present runs say nothing about it.'}**"
        )
        blocks: list[Block] = [Heading(3, self.title), Paragraph(first)]
        blocks += [self.figure.figure] if self.figure else []
        blocks += [self.table] if self.table else []
        if variances := words.variances(self.contrasts):
            blocks.append(Folded("Which variance is which: seeds, images, both", [variances]))
        blocks += [Bullets(self.sentences)] if self.sentences else []

        if self.certainty:
            blocks.append(Paragraph("**How sure:** " + " ".join(self.certainty)))
        if self.missing:
            blocks += [Paragraph("**What is missing:**"), Bullets(self.missing)]
        if self.runs:
            blocks.append(
                Folded("The runs that this stands on", [Bullets(_run_lines(self.runs, tracked))])
            )

        return blocks


def of_contrasts(
    evidence: Evidence,
    number: int,
    title: str,
    contrasts: list[Contrast],
    crossed: Said,
    lacking: list[str],
) -> Answer:
    """Return an answer from contrasts and effects of the factorial: sentences, a forest of
    intervals, and a table.
    """
    drawing = (
        Drawing(
            f"answer_{number}.svg",
            CAPTION,
            lambda path: forest(contrasts, path),
            words.values(contrasts),
        )
        if contrasts
        else None
    )

    sentences = [*words.sentences(contrasts, evidence.mixed), *crossed.sentences]
    sure = words.certainty(contrasts)
    runs = joined([*sides(contrasts), *crossed.samples])

    return Answer(
        title, sentences, drawing, words.table(contrasts), runs, sure, lacking, tuple(contrasts)
    )


def joined(samples: Iterable[SamplePicture]) -> list[SamplePicture]:
    """Each sample once."""
    return list({(sample.where, sample.task, sample.name): sample for sample in samples}.values())


def sides(contrasts: Iterable[Contrast]) -> list[SamplePicture]:
    """Return the samples of contrasts, each once."""
    return joined(side for pair in contrasts for side in (pair.left, pair.right))


def _caution(samples: list[SamplePicture]) -> str:
    small = [sample for sample in samples if sample.small]
    if not small:
        return ""
    caution = SYNTHETIC if all(sample.synthetic for sample in samples) else SMALL
    return caution if len(small) == len(samples) else PARTLY


def _run_lines(samples: list[SamplePicture], tracked: Tracked) -> list[str]:
    lines: list[str] = []
    for sample in samples:
        name = f"{words.located(sample)} {code(sample.name)}"
        runs = (
            f"seed {run.seed} {tracked.link(run.mlflow_run_id, code(run.run_id[:12]))}"
            for run in sample.runs
        )
        lines.append(f"{name}{', small-scale run' if sample.small else ''}: {', '.join(runs)}")
    return lines
