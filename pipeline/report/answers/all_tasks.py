"""Question 5: whether the simpler network matches or beats Swin on all three tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from pipeline.report import numbers
from pipeline.report.answers import missing, words
from pipeline.report.answers.answer import Answer, Drawing, Evidence, sides
from pipeline.report.claims import TASK_NAMES, TASKS
from pipeline.report.contrasts import Contrast, mixer_pairs
from pipeline.report.document import Table, plain
from pipeline.report.families import SWIN, static
from pipeline.report.forest import forest

TITLE = "5. Does the simpler network match or beat Swin on all three tasks?"
MATCHES = "matches"
BEATS = "beats"
BEHIND = "falls behind"
OPEN = "not settled"
CAPTION = """
The static depth-wise network minus Swin with 95% intervals over paired seeds; the band is the
margin within which a difference counts as none, and a hollow mark comes from one seed.
"""
HEAD = [
    "task",
    "contrast",
    "points",
    "95% interval",
    "margin",
    "verdict",
    "seeds",
    words.CHANCE,
    "also differs in",
    "scale",
]


def all_tasks(evidence: Evidence) -> Answer:
    """Return the static depth-wise network minus Swin, judged against a margin, task by task and
    together.
    """
    results = evidence.results
    margin = evidence.margin
    pairs = [
        pair
        for task in TASKS
        for pair in mixer_pairs("static swin", results.of(task), static(), SWIN)
    ]

    tasks = {pair.left.task for pair in pairs}
    lacking = [
        *(
            line
            for task in TASKS
            for line in missing.of_mixer(results, task in tasks, (*SWIN, *static()), [task])
        ),
        *missing.seeds(results, pairs),
    ]

    sentences = [_sentence(pair, margin, evidence.mixed) for pair in pairs]
    sentences += [_together(group, margin, evidence.mixed) for group in _by_networks(pairs)]

    caption = " ".join(CAPTION.split())
    drawing = (
        Drawing(
            "answer_5.svg", caption, lambda path: forest(pairs, path, margin), words.values(pairs)
        )
        if pairs
        else None
    )
    table = (
        Table(HEAD, [_line(pair, margin) for pair in pairs], frozenset({2, 3, 4, 6, 7}))
        if pairs
        else None
    )

    return Answer(
        TITLE,
        sentences,
        drawing,
        table,
        sides(pairs),
        words.certainty(pairs),
        lacking,
        tuple(pairs),
    )


def verdict(contrast: Contrast, margin: float) -> str:
    """Return what the interval of the paired difference says, against a margin in points."""
    if contrast.difference is None or contrast.difference.interval is None or contrast.at_ceiling:
        return OPEN
    low, high = contrast.difference.interval
    if -margin <= low and high <= margin:
        return MATCHES
    return {1: BEATS, -1: BEHIND, 0: OPEN}[contrast.sign]


def _sentence(pair: Contrast, margin: Mapping[str, float], mixed: bool) -> str:
    outcome = verdict(pair, margin.get(pair.metric, 0.0))
    sides = f"`{pair.left.name}` against `{pair.right.name}`: **{outcome}**"
    head = words.opened(
        f"{TASK_NAMES[pair.left.task]}, {sides}",
        mixed=mixed,
        small=pair.small,
        synthetic=pair.synthetic,
    )

    if pair.difference is None:
        return f"{head}, no seed in common."

    points = (
        f"{numbers.signed(pair.metric, pair.difference.mean)} points of "
        f"{numbers.label(pair.metric)}"
    )
    ceiling = (
        "; both have everything right, so nothing can be told apart" if pair.at_ceiling else ""
    )
    return f"{head}, {points} ({words.sure(pair.metric, pair.difference)}{ceiling})."


def _by_networks(pairs: list[Contrast]) -> list[list[Contrast]]:
    """Pairs of the same two variants, over the tasks."""
    groups: dict[tuple[str, str], list[Contrast]] = defaultdict(list)
    for pair in pairs:
        groups[pair.left.name, pair.right.name].append(pair)
    return list(groups.values())


def _together(pairs: list[Contrast], margin: Mapping[str, float], mixed: bool) -> str:
    """Return what the tasks say together of two networks."""
    first = pairs[0]
    verdicts = {pair.left.task: verdict(pair, margin.get(pair.metric, 0.0)) for pair in pairs}
    tasks = {kind: " and ".join(_tasks(verdicts, kind)) for kind in (BEHIND, OPEN, "")}
    phrases = {
        BEHIND: f"falls behind in {tasks[BEHIND]}",
        OPEN: f"not settled in {tasks[OPEN]}",
        "": f"not run with both in {tasks['']}",
    }

    finding = (
        "; ".join(phrases[kind] for kind, names in tasks.items() if names)
        or "matches or beats it on each"
    )

    small = any(pair.small for pair in pairs)
    synthetic = any(pair.synthetic for pair in pairs)
    head = words.opened("all three tasks together", mixed=mixed, small=small, synthetic=synthetic)
    return f"{head}, `{first.left.name}` against `{first.right.name}`: **{finding}**."


def _tasks(verdicts: Mapping[str, str], kind: str) -> list[str]:
    return [TASK_NAMES[task] for task in TASKS if verdicts.get(task, "") == kind]


def _line(pair: Contrast, margin: Mapping[str, float]) -> list[str]:
    difference = pair.difference
    within = margin.get(pair.metric, 0.0)

    return [
        TASK_NAMES[pair.left.task],
        words.named(pair),
        numbers.signed(pair.metric, difference.mean if difference else None),
        numbers.interval(pair.metric, difference) if difference else "no seed in common",
        f"{within:g}",
        f"**{verdict(pair, within)}**",
        str(difference.n if difference else 0),
        numbers.chance(difference),
        plain(", ".join(pair.confounded) or "nothing"),
        words.scale(pair),
    ]
