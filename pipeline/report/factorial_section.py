"""The factorial: its cells and controls, interactions, and what could not be run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.report import numbers
from pipeline.report.answers import crossed, words
from pipeline.report.answers.answer import Drawing, Evidence
from pipeline.report.claims import TASK_NAMES
from pipeline.report.document import Block, Bullets, Folded, Paragraph, Table, code
from pipeline.report.hours import hours
from pipeline.report.samples import SamplePicture, of_budget
from pipeline.report.search_section import trial_table
from pipeline.report.statistics import summarise
from pipeline.report.tracked import Tracked
from pipeline.report.trials import FactorialResults

GROUPS = {"channel": "one set a channel", "group": "one set a group", "all": "one set for all"}
HEAD = [
    "setting",
    "budget",
    "over positions",
    "over channels",
    "dynamic",
    "last",
    "seeds",
    "parameters, M",
]
COSTS = ["MACs, G", "training, images/s", "scale"]
CAPTION = """
Cells of budget `{budget}`: a line for each way of sharing over positions and of computing weights,
a dot for each seed. Lines that are not parallel are interactions.
"""


def factorial_blocks(evidence: Evidence, tracked: Tracked) -> list[Block]:
    """Return the section."""
    factorial = evidence.factorial
    if factorial is None:
        makes = evidence.results.again("factorial")
        return [Paragraph(f"The factorial design has not been run; `{makes}` makes it.")]

    design = factorial.design
    samples = {budget: of_budget(factorial, budget) for budget in factorial.budgets}
    small = any(sample.small for by_setting in samples.values() for sample in by_setting.values())
    seeds = numbers.seeds(len(design.seeds))
    pixels = f" at {design.image_size} pixels" if design.image_size else ""
    what = (
        f"{words.scale_of(small, design.data.synthetic).capitalize()}: three factors crossed "
        "inside one network, "
        f"{numbers.label(design.metric)} in {TASK_NAMES[design.task]}, {seeds}{pixels}; "
        f"{tracked.link(design.mlflow_run_id, 'the sweep in MLflow')}. The analysis is question "
        "4 above."
    )

    blocks: list[Block] = [Paragraph(what), Bullets(_facts(factorial))]
    blocks.append(
        _cells(
            factorial, [sample for by_setting in samples.values() for sample in by_setting.values()]
        )
    )
    blocks += [drawing.figure for drawing in interaction_drawings(evidence)]
    if levels := crossed.simple_table(evidence):
        blocks.append(Folded("Main effects at each level of another factor", [levels]))

    trials = trial_table(
        list(factorial.trials),
        design.metric,
        tracked,
        "budget and setting",
        lambda t: f"`{t.budget}` `{t.setting}`",
    )

    return [*blocks, Folded("Every run", [trials])]


def interaction_drawings(evidence: Evidence) -> list[Drawing]:
    """Return the interaction plot of each budget."""
    if evidence.factorial is None:
        return []
    factorial = evidence.factorial

    def plot(budget: str, path: Path) -> None:
        from pipeline.report.effect_figures import interactions

        interactions(
            evidence.analyses[budget],
            factorial.design.metric,
            crossed.title(factorial, budget),
            path,
        )

    return [
        Drawing(
            f"interaction_{budget}.svg",
            " ".join(CAPTION.format(budget=budget).split()),
            partial(plot, budget),
        )
        for budget in evidence.analyses
    ]


def _facts(factorial: FactorialResults) -> list[str]:
    design = factorial.design
    items = [
        f"Budget `{name}`: {numbers.count(budget.epochs, 'epoch')}; "
        + (
            ", ".join(
                f"{spent.words} on {code(spent.device)}" for spent in hours(factorial.budget(name))
            )
            or "not run"
        )
        for name, budget in design.budgets.items()
    ]
    items += [f"`{cell}` has the control `{control}`." for cell, control in design.controls.items()]
    items += [f"Left out: `{name}` ({code(reason)})." for name, reason in design.left_out.items()]

    small = {
        reason: None
        for budget in factorial.budgets
        for s in of_budget(factorial, budget).values()
        for reason in s.small
    }
    return [*items, *words.why_small(small)]


def _cells(factorial: FactorialResults, samples: list[SamplePicture]) -> Table:
    metric = factorial.design.metric
    rows = [
        [
            f"`{sample.name}`",
            f"`{sample.where}`",
            *_levels(factorial, sample.name),
            numbers.spread(metric, summarise(list(sample.values.values()))),
            str(len(sample.values)),
            numbers.value(
                "parameters_m", sample.parameters / 1e6 if sample.parameters is not None else None
            ),
            numbers.value("macs_g", sample.macs / 1e9 if sample.macs is not None else None),
            numbers.speed(sample.train_images_per_second),
            words.scale_of(bool(sample.small), sample.synthetic),
        ]
        for sample in samples
    ]

    head = [f"{numbers.labelled(metric)}, last" if name == "last" else name for name in HEAD]
    return Table([*head, *COSTS], rows, frozenset(range(5, 10)))


def _levels(factorial: FactorialResults, name: str) -> list[str]:
    cell = factorial.design.cells.get(name)
    if cell is None:
        role = "control" if name in factorial.design.controls.values() else "beside the cells"
        return [role, numbers.NOTHING, numbers.NOTHING]
    return [
        "shared" if cell.shared_positions else "not shared",
        GROUPS[cell.channel_groups],
        "yes" if cell.dynamic else "no",
    ]
