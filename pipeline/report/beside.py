"""Published numbers and what was measured of them, as tables."""

from __future__ import annotations

from collections import defaultdict

from pipeline.report import numbers
from pipeline.report.claims import COSTS, TASK_NAMES, TASKS, Claim
from pipeline.report.document import Block, Folded, Heading, Paragraph, Table
from pipeline.report.verdict import NOT_RUN, SMALL, Judged

HEAD = [
    "variant",
    "metric",
    "measured, last",
    "published",
    "difference",
    "verdict",
    "best",
    "seeds",
    "published as",
]


def beside_published(judged: list[Judged]) -> list[Block]:
    """One line per variant and published number; the same number of several tables stands once."""
    blocks: list[Block] = []
    for task in TASKS:
        groups: dict[tuple[object, ...], list[Judged]] = defaultdict(list)
        for item in judged:
            if item.task == task and item.claim and item.result and item.measured:
                groups[_same(item, item.claim)].append(item)
        if groups:
            # By variant; the claims came in the order of the published tables.
            ordered = sorted(
                groups.values(), key=lambda group: group[0].result.name if group[0].result else ""
            )
            blocks.append(Heading(3, f"{TASK_NAMES[task].capitalize()}: beside published"))
            blocks.append(
                Table(HEAD, [_line(group) for group in ordered], frozenset({2, 3, 4, 6, 7}))
            )

    return blocks or [Paragraph("Nothing has been measured that was published.")]


def not_run(judged: list[Judged]) -> list[Block]:
    """Return published rows without a measurement, and what would give one; variants without a
    published row.
    """
    blocks: list[Block] = []
    for task in TASKS:
        groups: dict[tuple[str, ...], list[Claim]] = defaultdict(list)
        for item in judged:
            if item.task == task and item.verdict == NOT_RUN and item.claim:
                row = item.claim.row
                groups[row.table, row.model, row.confidence, item.todo].append(item.claim)
        if groups:
            rows = [
                [model, table, _values(claims), confidence, todo]
                for (table, model, confidence, todo), claims in groups.items()
            ]

            count = sum(len(claims) for claims in groups.values())
            table = Table(
                ["published network", "table", "published", "confidence", "what is missing"], rows
            )
            blocks.append(
                Folded(f"{TASK_NAMES[task].capitalize()}: {count} published numbers", [table])
            )

    lonely = [item.result for item in judged if item.claim is None and item.result]
    if lonely:
        names = ", ".join(f"{TASK_NAMES[result.task]} `{result.name}`" for result in lonely)
        blocks.append(
            Paragraph(f"Without a published number of the same operator and size: {names}.")
        )

    return blocks or [Paragraph("Every published number has a measured one beside it.")]


def _same(item: Judged, claim: Claim) -> tuple[object, ...]:
    name = item.result.name if item.result else ""
    return (
        name,
        claim.row.mixer,
        claim.row.size,
        claim.metric,
        claim.value,
        claim.row.confidence,
        item.verdict,
    )


def _line(group: list[Judged]) -> list[str]:
    claims = [item.claim for item in group if item.claim]
    item = group[0]
    claim = claims[0]
    metric = item.metric
    # once above the tables, and in the published column
    said_above = item.verdict == SMALL or not claim.published
    why = f" ({'; '.join(item.reasons)})" if item.reasons and not said_above else ""

    names = list(dict.fromkeys(claim.row.table for claim in claims))
    tables = (
        f"{'tables' if len(names) > 1 else 'table'} {', '.join(names)}"
        if not claim.published
        else names[0]
    )
    recalled = "" if claim.published else " (recalled)"

    return [
        f"`{item.result.name}`" if item.result else "",
        numbers.labelled(metric),
        numbers.spread(metric, item.measured),
        numbers.published(metric, claim.value) + recalled,
        numbers.signed(metric, item.delta),
        f"**{item.verdict}**{why}",
        numbers.value(metric, item.best),
        str(item.measured.n) if item.measured and metric not in COSTS else numbers.NOTHING,
        f"{claim.row.model}; {tables}",
    ]


def _values(claims: list[Claim]) -> str:
    return "; ".join(
        f"{numbers.label(claim.metric)} {numbers.published(claim.metric, claim.value)} {claim.unit}"
        for claim in claims
    )
