"""From results to a folder that holds the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from pipeline.core.files import whole_folder, write_text
from pipeline.params.registry import classifier
from pipeline.project.call import Call
from pipeline.project.git import day
from pipeline.report import figures, numbers
from pipeline.report.answers import answers
from pipeline.report.answers.answer import Evidence
from pipeline.report.answers.crossed import analyses
from pipeline.report.claims import COSTS, TASK_NAMES, TASKS, Claim, load_claims
from pipeline.report.classes import draw_matrix, matrices
from pipeline.report.contrasts import against_baseline
from pipeline.report.derived import contrasts_csv, costs_csv, effects_csv, hours_csv
from pipeline.report.document import Figure, to_markdown
from pipeline.report.factorial_section import interaction_drawings
from pipeline.report.page import to_html
from pipeline.report.primary import primary_contrasts, primary_csv, primary_drawing
from pipeline.report.results import Results, VariantResult, read_results
from pipeline.report.scatter import over_cost, spoken
from pipeline.report.search_figures import settings_drawing
from pipeline.report.search_section import file_of
from pipeline.report.sections import SCATTER, Material, report
from pipeline.report.summaries import write_summaries
from pipeline.report.table import to_csv
from pipeline.report.tracked import tracked
from pipeline.report.trials import read_factorial, read_search
from pipeline.report.verdict import judge_all, measured_value


class Draw(Protocol):
    """Draw a picture and remember its place, caption and values."""

    def __call__(
        self, file: str, caption: str, plot: Callable[[Path], None], shown: Iterable[str] = ()
    ) -> None:
        """Draw one."""


def make_report(call: Call) -> Path:
    """Write report.md, report.html, tables as CSV, the plots, and what DVC shows; the same inputs
    give the same bytes.

    Raises:
        UserError: a results file or the claims cannot be read.
    """
    material = gather(call)
    evidence = material.evidence
    target = material.folder

    with whole_folder(target) as folder:
        pictures = _pictures(evidence.results, material.claims, folder)
        if call.params.compare.samples:
            pictures += _samples(evidence.results, folder)
        _draw(material, folder)
        blocks = report(replace(material, pictures=pictures))
        write_text(folder / "report.md", to_markdown(blocks))
        write_text(folder / "report.html", to_html(blocks, folder))
        made_tables = tables(material)
        for name, text in made_tables.items():
            write_text(folder / name, text)

    write_summaries(call, evidence, made_tables["effects.csv"])
    return target


def gather(call: Call) -> Material:
    """Read and judge all that the report is made from; its pictures are drawn later.

    Raises:
        UserError: a results file or the claims cannot be read.
    """
    claims = load_claims()
    evidence = read_evidence(call)
    commits = {result.metrics.commit for result in evidence.results.run if result.metrics}
    days = {commit: day(call.project, commit) for commit in sorted(filter(None, commits))}

    return Material(
        params=call.params,
        evidence=evidence,
        answers=answers(evidence),
        primary=primary_contrasts(evidence.results, call.params.compare),
        judged=judge_all(claims, evidence.results, call.params.compare),
        pictures=[],
        tracked=tracked(call.params.tracking, call.params.compare.links),
        folder=call.folders.results("report"),
        project=call.project,
        claims=claims,
        dated={commit: date for commit, date in days.items() if date},
    )


def read_evidence(call: Call) -> Evidence:
    """Read all results.

    Raises:
        UserError: a file cannot be read, or the cells of the factorial do not fit together.
    """
    factorial = read_factorial(call)
    tolerance = dict(call.params.compare.tolerance)
    return Evidence(
        read_results(call), factorial, read_search(call), analyses(factorial), tolerance
    )


def tables(material: Material) -> dict[str, str]:
    """Return the tables for other programs, by file name."""
    evidence = material.evidence
    all_answers = material.answers
    baseline = [pair for task in TASKS for pair in against_baseline(evidence.results.of(task))]
    return {
        "results.csv": to_csv(material.judged),
        "contrasts.csv": contrasts_csv(all_answers, baseline, evidence.margin),
        "costs.csv": costs_csv(all_answers),
        "effects.csv": effects_csv(evidence),
        "primary.csv": primary_csv(material.primary),
        "hours.csv": hours_csv(evidence),
    }


def _draw(material: Material, folder: Path) -> None:
    """Draw the pictures of primary contrasts, answers and factorial; those of the search are
    copied.
    """
    evidence = material.evidence
    drawings = [
        primary_drawing(material.primary),
        settings_drawing(evidence.search),
        *(each.figure for each in material.answers),
    ]
    for drawing in [*filter(None, drawings), *interaction_drawings(evidence)]:
        drawing.plot(folder / drawing.file)
    for file, result in matrices(evidence.results).items():
        draw_matrix(result, folder / file)
    for picture in evidence.search.pictures if evidence.search else ():
        shutil.copyfile(picture, folder / file_of(picture.name))


def _pictures(results: Results, claims: list[Claim], folder: Path) -> list[Figure]:
    pictures: list[Figure] = []

    def draw(
        file: str, caption: str, plot: Callable[[Path], None], shown: Iterable[str] = ()
    ) -> None:
        plot(folder / file)
        pictures.append(Figure(file, caption, f"Values: {'; '.join(shown)}." if shown else ""))

    for task in TASKS:
        _draw_task(task, [result for result in results.of(task) if result.metrics], draw)

    trained = [result for result in results.of(classifier()) if result.metrics]
    for cost in COSTS if trained else ():
        caption = (
            f"Top-1 over {numbers.labelled(cost)}, with 95% intervals over seeds. Small-scale runs "
            "and published numbers do not compare: each has its own axes."
        )
        plot = partial(over_cost, trained, claims, cost)
        draw(f"{SCATTER}{cost}.svg", caption, plot, spoken(trained, claims, cost))

    profiled = [result for result in results.of(classifier()) if result.profile]
    if profiled:
        speeds = [
            f"{result.name} {numbers.speed(result.profile.inference_images_per_second)}"
            for result in profiled
            if result.profile
        ]
        caption = (
            "Images a second on the machine named under the table of variants; longer is faster."
        )
        draw("throughput.svg", caption, lambda path: figures.throughput(profiled, path), speeds)

    return pictures


def _draw_task(task: str, trained: list[VariantResult], draw: Draw) -> None:
    if not trained:
        return

    name = TASK_NAMES[task].capitalize()
    ends = [
        f"{result.name} {numbers.value(metrics.main_metric, measured.mean)}"
        for result in trained
        if (metrics := result.metrics) and (measured := measured_value(result, metrics.main_metric))
    ]
    several = any(len(result.metrics.seeds) > 1 for result in trained if result.metrics)
    dots = (
        "a faint dot per seed, mean and one standard deviation over it"
        if several
        else "one seed, no spread known"
    )

    caption = f"{name} at the last evaluation: {dots}."
    draw(f"accuracy_{task}.svg", caption, lambda path: figures.accuracy(trained, path), ends)

    if any(result.history for result in trained):
        caption = f"{name} over the epochs: mean over the seeds, and their range behind it."
        draw(f"curves_{task}.svg", caption, lambda path: figures.curves(trained, path), ends)


def _samples(results: Results, folder: Path) -> list[Figure]:
    """Copy what each variant saw in images of its data set."""
    pictures = []
    for result in results.run:
        if result.samples:
            file = f"samples_{result.task}_{result.name}.webp"
            _shrink(result.samples, folder / file)
            task = TASK_NAMES[result.task].capitalize()
            caption = f"{task} `{result.name}`: predictions of the first seed."
            pictures.append(Figure(file, caption))

    return pictures


def _shrink(picture: Path, target: Path) -> None:
    """Write photographs as WebP, a tenth of the bytes of a PNG."""
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").save(target, "WEBP", quality=80, method=6)
