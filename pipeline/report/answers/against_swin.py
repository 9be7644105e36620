"""Question 3: (dynamic) depth-wise networks against Swin, in accuracy and in cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.params.registry import classifier
from pipeline.plots.style import QUIET, canvas, save
from pipeline.report import numbers
from pipeline.report.answers import missing, words
from pipeline.report.answers.answer import Answer, Drawing, Evidence, sides
from pipeline.report.answers.costs import (
    INFERENCE,
    MEASURES,
    MEMORY,
    UNITS,
    Cost,
    RunCosts,
    costs,
    shown,
)
from pipeline.report.claims import TASKS
from pipeline.report.contrasts import declared_pairs, mixer_pairs
from pipeline.report.document import Table, code, plain
from pipeline.report.families import SWIN, dynamic, static
from pipeline.report.forest import draw_forest, title_of
from pipeline.runs.results.profile import ProfileFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "3. How do (dynamic) depth-wise networks stand against Swin, in accuracy and in cost?"
CAPTION = """
Left: differences in accuracy with 95% intervals; a hollow mark comes from one seed. Right: costs of
the first network in units of the second one's.
"""
AUTHORS = (50, 30)  # warm-up and timed batches in the paper's protocol
MARKS = dict(zip(MEASURES, ("o", "s", "^", "D", "P"), strict=True))
SHADES = dict(zip(MEASURES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#6B6B6B"), strict=True))
SPEEDS = (
    "Speeds are compared within one device and one session alone. In brackets: a slow quarter of "
    "batches against a fast one, and a fast one against a slow one."
)
BLOCK = (
    "Swin and the depth-wise networks differ in normalisation and in the rest of the block "
    "too, as in the paper."
)


def against_swin(evidence: Evidence) -> Answer:
    """Every pair of sizes alike, and the steps of the bridge."""
    results = evidence.results
    factorial = evidence.factorial
    depthwise = (*static(), *dynamic())
    pairs = [
        pair for task in TASKS for pair in mixer_pairs("swin", results.of(task), depthwise, SWIN)
    ] + declared_pairs(factorial, "bridge")
    compared = [costs(pair) for pair in pairs]
    classified = [
        result for result in results.of(classifier()) if result.variant.mixer in (*depthwise, *SWIN)
    ]

    lacking = [
        *missing.of_mixer(results, any(pair.kind == "swin" for pair in pairs), (*SWIN, *depthwise)),
        *missing.profiles(results, classified),
        *missing.seeds(results, pairs),
        *missing.factorial(evidence),
    ]

    drawing = (
        Drawing(
            "answer_3.svg",
            " ".join(CAPTION.split()),
            lambda path: _draw(compared, path),
            words.values(pairs),
        )
        if pairs
        else None
    )

    classify = [
        cost
        for cost in compared
        if not cost.contrast.left.where and cost.contrast.left.task == classifier()
    ]
    sentences = [
        *words.sentences(pairs, evidence.mixed),
        *(_sentence(cost, evidence.mixed) for cost in classify),
    ]

    timed = {_protocol(side.profile) for side in sides(pairs) if side.profile}
    if timed:
        timed.add(SPEEDS)
    sure = [*words.certainty(pairs), *([BLOCK] if pairs else []), *sorted(timed)]
    table = _table(compared) if compared else None

    return Answer(
        TITLE, sentences, drawing, table, sides(pairs), sure, lacking, tuple(pairs), tuple(compared)
    )


def _sentence(cost: RunCosts, mixed: bool) -> str:
    """Costs of one pair of variants in words."""
    pair = cost.contrast
    phrases = [
        f"{measured.times} times the {_called(measured)} ({_both(measured)})"
        for measured in cost.found
    ]
    refused = f"; the rest is not compared, for {cost.refused}" if cost.refused else ""

    head = words.opened(
        f"`{pair.left.name}` took, beside `{pair.right.name}`",
        mixed=mixed,
        small=pair.small,
        synthetic=pair.synthetic,
    )
    more = f" Also {', '.join(phrases[2:])}." if phrases[2:] else ""

    return f"{head}, {', '.join(phrases[:2]) or 'no cost that compares'}{refused}.{more}"


def _called(cost: Cost) -> str:
    return {
        INFERENCE: "inference speed",
        "training": "training speed",
        MEMORY: "memory in inference",
    }.get(cost.measure, cost.measure)


def _both(cost: Cost) -> str:
    return (
        f"{shown(cost.measure, cost.left)} against {shown(cost.measure, cost.right)} "
        f"{UNITS[cost.measure]}"
    )


def _protocol(profile: ProfileFile) -> str:
    authors = (
        "the authors' protocol"
        if (profile.warmup, profile.timed) == AUTHORS
        else "not the authors' protocol"
    )

    return (
        f"Profiles: {profile.warmup} warm-up and {profile.timed} timed batches of "
        f"{profile.batch_size} images "
        f"({authors}), {code(profile.precision)}, {code(profile.layout)}, {profile.image_size} "
        "pixels, "
        f"on {code(profile.device)}."
    )


def _table(compared: list[RunCosts]) -> Table:
    head = ["contrast", "where", "points", "95% interval", "seeds", words.CHANCE]
    head += [f"{measure}, times" for measure in MEASURES] + ["also differs in", "scale"]
    return Table(head, [_line(cost) for cost in compared], frozenset(range(2, 6 + len(MEASURES))))


def _line(cost: RunCosts) -> list[str]:
    pair = cost.contrast
    difference = cost.contrast.difference

    return [
        words.named(pair),
        words.located(pair.left),
        numbers.signed(pair.metric, difference.mean if difference else None),
        numbers.interval(pair.metric, difference) if difference else "no seed in common",
        str(difference.n if difference else 0),
        numbers.chance(difference),
        *(_cell(cost.of(measure)) for measure in MEASURES),
        plain(", ".join(pair.confounded) or "nothing"),
        words.scale(pair),
    ]


def _cell(cost: Cost | None) -> str:
    return numbers.NOTHING if cost is None else f"{cost.ratio:.2f}"


def _draw(compared: Sequence[RunCosts], path: Path) -> None:
    pairs = [cost.contrast for cost in compared]
    figure, (left, right) = canvas(1.8 + 0.55 * len(pairs), columns=2)

    draw_forest(left, pairs, {})
    left.set_title(title_of(pairs))
    _draw_costs(right, compared)
    right.set_ylim(left.get_ylim())
    save(figure, path)


def _draw_costs(axes: Axes, compared: Sequence[RunCosts]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    axes.axvline(1, color=QUIET, linewidth=1)

    measures = [measure for measure in MEASURES if any(cost.of(measure) for cost in compared)]
    for place, measure in enumerate(measures):
        shift = 0.13 * (place - (len(measures) - 1) / 2)  # apart, where two costs are alike
        points = [
            (measured.ratio, line + shift)
            for line, cost in enumerate(compared)
            if (measured := cost.of(measure))
        ]
        across, down = zip(*points, strict=True)
        axes.plot(across, down, MARKS[measure], color=SHADES[measure], markersize=7, label=measure)

    if measures:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=3, frameon=False, fontsize=9.5
        )

    axes.margins(x=0.1)
    axes.set_yticks(range(len(compared)), [""] * len(compared))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times the second network's")
