"""Contrasts in words and in tables."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from pipeline.report import numbers
from pipeline.report.claims import TASK_NAMES
from pipeline.report.contrasts import Contrast
from pipeline.report.document import Table, plain
from pipeline.report.samples import SEARCH, SamplePicture
from pipeline.report.statistics import Difference

# What a contrast changes: in a sentence, and at the head of a line.
KINDS = {
    "kernel": ("a larger kernel", "kernel size"),
    "groups": ("sharing weights in groups of channels", "groups of channels"),
    "unshared": (
        "sharing weights over positions (depth-wise against locally connected)",
        "positions",
    ),
    "neighbourhood": ("another neighbourhood", "neighbourhood"),
    "control": (
        "the operator, at equal parameters (a cell against its plain control)",
        "equal parameters",
    ),
    "search kernel": ("a larger kernel", "kernel size"),
    "search groups": ("more channels to one set of weights", "groups of channels"),
    "dynamic": ("computing the weights from the image", "dynamic weights"),
    "weights": ("weights by dot product instead of a linear layer", "how weights are computed"),
    "swin": ("the (dynamic) depth-wise network in place of Swin", "network"),
    "bridge": ("a step on the bridge from Swin to the depth-wise network", "bridge"),
    "static swin": ("the depth-wise network in place of Swin", "network"),
    "baseline": ("the network in place of the baseline", "network"),
}
HEAD = [
    "what changes",
    "contrast",
    "points",
    "sd",
    "95% interval",
    "seeds",
    "parameters",
    "also differs in",
    "scale",
]
SMALL, PAPERS = "small-scale run", "the paper's"
UNADJUSTED = (
    "Each interval is a 95% t-interval over paired seeds, not widened for being one of many."
)


MIXERS = {
    "swin": "Swin",
    "dwnet": "DW",
    "dynamic_dwnet": "D-DW",
    "i_dynamic_dwnet": "I-D-DW",
    "local_mlp": "local MLP",
}
"""What the paper calls its ways of mixing."""


def mixer_in_words(mixer: str) -> str:
    """Return the paper's name of a mixer; of another one its own, without underscores."""
    return MIXERS.get(mixer, mixer.replace("_", " "))


def listed(names: Iterable[str]) -> str:
    """Join names, as in `a, b and c`."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def place(sample: SamplePicture) -> str:
    """Where a sample was run, nothing for a variant."""
    if not sample.where:
        return ""
    return "search" if sample.where == SEARCH else f"factorial `{sample.where}`"


def located(sample: SamplePicture) -> str:
    """Where a sample was run, and its task."""
    return ", ".join(filter(None, (place(sample), TASK_NAMES[sample.task])))


def opening(small: bool, synthetic: bool) -> str:
    """How a sentence begins, so that none can be read beyond its data."""
    if synthetic:
        return "On synthetic images (small-scale run), "
    return "In a small-scale run, " if small else "At the paper's scale, "


def sentences(contrasts: Iterable[Contrast]) -> list[str]:
    """One sentence for each kind, place, task and scale; of the factorial only the longest training
    speaks.
    """
    made: list[str] = []
    spoken: dict[str, str] = {}
    for _, found in groupby(contrasts, key=_group):
        group = list(found)
        kind, where = group[0].kind, group[0].left.where
        if spoken.setdefault(kind, where) == where:
            made.append(sentence(group))
    return made


def sentence(group: list[Contrast]) -> str:
    """Return what contrasts of one kind, place, task and scale say together."""
    first = group[0]
    where = {"": "", SEARCH: "in the search, on images held out of the training set, "}.get(
        first.left.where, f"in the factorial's budget `{first.left.where}`, "
    )
    about = f"{numbers.label(first.metric)} in {TASK_NAMES[first.left.task]}"
    head = f"{opening(first.small, first.synthetic)}{where}{_settled(group, about)}"
    known = [contrast for contrast in group if contrast.difference]
    if not known:
        return f"{head}: no seed in common."
    settled = [contrast for contrast in known if contrast.sign]
    least, most = (choose(settled or known, key=_mean) for choose in (min, max))
    told = detail(least) if least is most else f"from {detail(least)} to {detail(most)}"
    rest = " The other pairs are not settled." if 0 < len(settled) < len(known) else ""
    ceiling = (
        " Where every run reaches 100%, nothing can be told apart."
        if any(c.at_ceiling for c in group)
        else ""
    )
    return f"{head}: {told}.{rest}{ceiling}"


def detail(contrast: Contrast) -> str:
    """Return the number of one contrast with what it stands on."""
    points = f"{numbers.signed(contrast.metric, _mean(contrast))} points for {named(contrast)}"
    return f"{points} ({sure(contrast.metric, contrast.difference)})"


def named(contrast: Contrast) -> str:
    """Return the two sides."""
    return f"`{contrast.left.name}` minus `{contrast.right.name}`"


def sure(metric: str, difference: Difference | None) -> str:
    """Interval and seeds."""
    if difference is None:
        return "no seed in common"
    if difference.interval is None:
        return "one seed, no interval"
    return f"95% interval {numbers.interval(metric, difference)}, {numbers.seeds(difference.n)}"


def table(contrasts: list[Contrast]) -> Table | None:
    """Return a line for each contrast."""
    return (
        Table(HEAD, [_line(contrast) for contrast in contrasts], frozenset(range(2, 7)))
        if contrasts
        else None
    )


def ratio(value: float | None) -> str:
    """Return a ratio."""
    return numbers.NOTHING if value is None else f"{value:.2f} times"


def scale(contrast: Contrast) -> str:
    """Of what size the runs of a contrast are."""
    return scale_of(contrast.small, contrast.synthetic)


def scale_of(small: bool, synthetic: bool) -> str:
    """Of what size runs are."""
    if synthetic:
        return f"{SMALL}, synthetic"
    return SMALL if small else PAPERS


def why_small(reasons: Iterable[str]) -> list[str]:
    """Why runs are small-scale runs, where they are, as an item of a list."""
    listed = "; ".join(reasons)
    return (
        [f"Why this is a small-scale run, with the paper's figure in brackets: {listed}."]
        if listed
        else []
    )


def certainty(contrasts: list[Contrast]) -> list[str]:
    """Seeds, intervals, and what else differs, over all contrasts of an answer."""
    if not contrasts:
        return []
    counts = [contrast.difference.n if contrast.difference else 0 for contrast in contrasts]
    least, most = min(counts), max(counts)
    said = [
        f"{numbers.seeds(most)} a contrast."
        if least == most
        else f"{least} to {numbers.seeds(most)} a contrast."
    ]
    said.append(UNADJUSTED)
    if least < 2:
        said.append("A contrast of one seed has no interval and settles nothing.")
    if any(contrast.confounded for contrast in contrasts):
        said.append(
            "Some pairs differ in recipe or data too, as the table says: they do not show the "
            "operator alone."
        )
    if any(contrast.left.where == SEARCH for contrast in contrasts):
        said.append(
            "The search chose by the numbers that it is quoted with, which flatters its best "
            "settings."
        )
    said.append(
        "Networks of a pair differ in parameters as given; a control is made to have as many as "
        "its cell."
    )
    return said


def _line(contrast: Contrast) -> list[str]:
    difference, metric = contrast.difference, contrast.metric
    return [
        f"{KINDS[contrast.kind][1]}; {located(contrast.left)}",
        named(contrast),
        numbers.signed(metric, difference.mean if difference else None),
        numbers.value(metric, difference.sd if difference else None),
        numbers.interval(metric, difference) if difference else "no seed in common",
        str(difference.n if difference else 0),
        ratio(contrast.parameters_ratio),
        plain(", ".join(contrast.confounded) or "nothing"),
        scale(contrast),
    ]


def _group(contrast: Contrast) -> tuple[object, ...]:
    return (
        contrast.kind,
        contrast.left.where,
        contrast.left.task,
        contrast.small,
        contrast.synthetic,
    )


def _mean(contrast: Contrast) -> float:
    return contrast.difference.mean if contrast.difference else 0.0


def _settled(group: list[Contrast], about: str) -> str:
    """Return what the intervals settle about the direction."""
    what, signs = KINDS[group[0].kind][0], {contrast.sign for contrast in group}
    settled = signs - {0}
    if not settled:
        return f"no effect of {what} on {about} is settled"
    if len(settled) == 2:
        return f"{what} raised {about} in some pairs and lowered it in others"
    return f"{what} {'raised' if 1 in settled else 'lowered'} {about}"
