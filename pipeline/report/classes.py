"""Results by class: where variants differ most, and what is taken for what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pipeline.params.registry import tasks
from pipeline.plots.style import canvas, colour, save, shade_cell
from pipeline.report import numbers
from pipeline.report.claims import TASK_NAMES, TASKS
from pipeline.report.document import Block, Figure, Folded, Heading, Paragraph, Table, code
from pipeline.report.results import Results, VariantResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 20
MOST_PAIRS = 10
DARKEST = 0.6
LONG = 16
"""Letters of a name from which on it is not written at a column."""
DRAWN = 14
"""A matrix of more classes could not be read; of as many, every pair of classes is published."""

ALL = """
Mean over seeds at the last evaluation, {metric}; all is in `per_class.csv` of each variant.
"""
WIDEST = """
The {shown} of {count} classes in which variants differ most. {all}
"""
TAKEN = """
Validation images of one class that were taken for another, mean over seeds: the pairs with most
images over all variants. More are in `confused.csv` of each variant.
"""
MATRIX = """
What `{name}` takes for what: images of each class (row) by guess (column), mean over seeds; on the
diagonal the share of a class that is right, in percent.
"""
Means = dict[str, dict[str, float]]


def class_blocks(results: Results) -> list[Block]:
    """Return the section; nothing where no run has results by class."""
    blocks = [block for task in TASKS for block in _of_task(task, _by_class(results.of(task)))]
    return [Heading(2, "By class"), *blocks] if blocks else []


def matrices(results: Results) -> dict[str, VariantResult]:
    """Return the pictures of what is taken for what, by file: of each task's best variant."""
    found: dict[str, VariantResult] = {}
    for task in TASKS:
        drawable = [
            result
            for result in results.of(task)
            if result.confused and len(_class_means(result)) <= DRAWN
        ]
        if drawable:
            found[f"confusion_{task}.svg"] = max(drawable, key=_main)
    return found


def draw_matrix(result: VariantResult, path: Path) -> None:
    """Draw one variant's matrix: (classes, classes), a shade for each pair that is confused."""
    right = _class_means(result)
    wrong = _pair_means(result)
    names = list(right)
    most = max(wrong.values()) or 1.0

    figure, (axes,) = canvas(1.6 + 0.5 * len(names))
    for row, label in enumerate(names):
        for column, guess in enumerate(names):
            images = wrong.get((label, guess), 0.0)
            shade_cell(axes, column, row, colour(result.variant.mixer), DARKEST * images / most)
            own = row == column
            text = f"{right[label]:.0f}%" if own else f"{images:.0f}"
            weight = "bold" if own else "normal"
            axes.text(column, row, text, ha="center", va="center", fontsize=10, fontweight=weight)

    ends = (-0.5, len(names) - 0.5)
    axes.set_xlim(*ends)
    axes.set_ylim(*reversed(ends))
    _name_axes(axes, names)
    axes.grid(visible=False)
    axes.set_xlabel("guess")
    axes.set_ylabel("label")
    save(figure, path)


def _name_axes(axes: Axes, names: Sequence[str]) -> None:
    """Name rows and columns; long names stand at the rows alone, with a number for each."""
    places = range(len(names))
    if max(map(len, names)) <= LONG:
        axes.set_xticks(places, names, rotation=30, ha="right")
        axes.set_yticks(places, names)
        return

    axes.set_xticks(places, [str(place + 1) for place in places])
    axes.set_yticks(places, [f"{name} ({place + 1})" for place, name in enumerate(names)])


def _of_task(task: str, variants: Sequence[VariantResult]) -> list[Block]:
    if not variants:
        return []

    blocks: list[Block] = [
        Heading(3, f"{TASK_NAMES[task].capitalize()}: by class"),
        *_table(task, variants),
    ]
    pairs = _pairs_table([result for result in variants if result.confused])
    for file, result in matrices(Results(tuple(variants), ())).items():
        caption = " ".join(MATRIX.format(name=result.name).split())
        blocks.append(Figure(file, caption, _spoken(result)))
    return [*blocks, *([Folded("What is taken for what", [pairs])] if pairs else [])]


def _by_class(results: Sequence[VariantResult]) -> list[VariantResult]:
    return [result for result in results if _class_means(result)]


def _table(task: str, variants: Sequence[VariantResult]) -> list[Block]:
    """Return the classes in which variants differ most; of a single variant the lowest ones."""
    means: Means = defaultdict(dict)
    for result in variants:
        for name, value in _class_means(result).items():
            means[name][result.name] = value

    spreads = {name: max(by.values()) - min(by.values()) for name, by in means.items()}
    lowest = {name: min(by.values()) for name, by in means.items()}
    ranked = sorted(means, key=lambda name: (-spreads[name], lowest[name], name))
    shown = ranked[:MOST_CLASSES]

    metric = tasks()[task].class_metric
    cells = [
        [code(name), *(numbers.value(metric, means[name].get(each.name)) for each in variants)]
        for name in shown
    ]
    head = ["class", *(code(result.name) for result in variants)]

    text = " ".join(ALL.format(metric=tasks()[task].class_label).split())
    if len(means) > len(shown):
        widest = WIDEST.format(shown=len(shown), count=len(means), all=text)
        text = " ".join(widest.split())
    return [Paragraph(text), Table(head, cells, frozenset(range(1, len(head))))]


def _pairs_table(variants: Sequence[VariantResult]) -> Table | None:
    """Return the pairs of classes that are most often confused, a column for each variant."""
    if not variants:
        return None

    means = {result.name: _pair_means(result) for result in variants}
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for found in means.values():
        for pair, images in found.items():
            totals[pair] += images

    ranked = sorted(totals, key=lambda pair: (-totals[pair], pair))[:MOST_PAIRS]
    rows = [
        [
            f"{code(pair[0])} taken for {code(pair[1])}",
            *(f"{found.get(pair, 0.0):.1f}" for found in means.values()),
        ]
        for pair in ranked
    ]
    head = ["classes", *(code(name) for name in means)]
    caption = " ".join(TAKEN.split())
    return Table(head, rows, frozenset(range(1, len(head))), caption)


def _class_means(result: VariantResult) -> dict[str, float]:
    """Return the metric of each class, mean over the seeds that have it."""
    metric = tasks()[result.task].class_metric
    values: dict[str, list[float]] = defaultdict(list)
    for line in result.by_class:
        value = (line.__pydantic_extra__ or {}).get(metric)
        if value is not None:
            values[line.name].append(value)
    return {name: fmean(found) for name, found in values.items()}


def _pair_means(result: VariantResult) -> dict[tuple[str, str], float]:
    """Return images by label and guess, mean over all seeds."""
    seeds = len(result.metrics.seeds) if result.metrics else 1
    totals: dict[tuple[str, str], float] = defaultdict(float)
    for line in result.confused:
        totals[line.label, line.guess] += line.images / seeds
    return totals


def _main(result: VariantResult) -> float:
    """Return the mean of the main metric over seeds."""
    metrics = result.metrics
    return fmean(row.last[metrics.main_metric] for row in metrics.seeds) if metrics else 0.0


def _spoken(result: VariantResult) -> str:
    """Return the pairs with most images, for who cannot see the matrix."""
    ranked = sorted(_pair_means(result).items(), key=lambda item: -item[1])[:MOST_PAIRS]
    pairs = (f"{label} for {guess} {images:.1f}" for (label, guess), images in ranked)
    return f"Most images: {'; '.join(pairs)}."
