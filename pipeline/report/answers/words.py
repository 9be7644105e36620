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
    "weights": ("weights by dot products, not linear", "how weights are computed"),
    "swin": ("the (dynamic) depth-wise network in place of Swin", "network"),
    "bridge": ("a step from Swin to depth-wise", "bridge"),
    "static swin": ("the depth-wise network in place of Swin", "network"),
    "baseline": ("the network in place of the baseline", "network"),
}
CHANCE = "left beats right, sign-flip p"
HEAD = [
    "what changes",
    "contrast",
    "points",
    "sd",
    "95% interval",
    "seeds",
    CHANCE,
    "parameters",
    "also differs in",
    "scale",
]
VARIANCES = [
    "contrast",
    "task",
    "points",
    "over seeds",
    "over images",
    "over both",
    "images",
    "scale",
]
SMALL = "small-scale run"
PAPERS = "the paper's"
PAPERS_SCALE = "At the paper's scale"
CAVEATS = (
    "Each interval is a 95% t-interval over paired seeds, not widened for being one of many. It "
    "holds for these evaluation images and leaves out their sampling.",
    "Beside it stand the share of seeds in which left beats right (Bouthillier et al., 2021) and "
    "the exact p of flipped signs. With fewer than 6 seeds no distribution-free claim is possible.",
    "A contrast of one seed has no interval and settles nothing.",
    "Networks of a pair differ in parameters as given; a control is made to have as many as its "
    "cell.",
    "The search chose by the numbers that it is quoted with, on images held out of the training "
    "set. That flatters its best settings.",
    "Effects of the factorial: ordinary least squares with a block for each seed. Intervals are "
    "at 95% each. A term is tested as a whole before its pairs, at 5% over all terms and pairs of "
    "a budget together; p-values are adjusted for that. The smallest detectable effect is one that "
    "this rule tells apart in 80% of repetitions. A main effect stands with its levels where an "
    "interaction is told apart or larger than its interval.",
)
"""What holds for all answers."""


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


def opened(sentence: str, *, mixed: bool, small: bool, synthetic: bool) -> str:
    """Begin a sentence with the scale of its runs, where runs of several scales are at hand."""
    if not mixed:
        return sentence[:1].upper() + sentence[1:]
    if synthetic:
        return f"On synthetic images (small-scale run), {sentence}"
    return f"{'In a small-scale run' if small else PAPERS_SCALE}, {sentence}"


def sentences(contrasts: Iterable[Contrast], mixed: bool) -> list[str]:
    """Say what contrasts show, by kind, place, task and scale; of the factorial only the longest
    training speaks.
    """
    lines: list[str] = []
    spoken: dict[str, str] = {}
    for _, members in groupby(contrasts, key=_group):
        group = list(members)
        kind = group[0].kind
        where = group[0].left.where
        if spoken.setdefault(kind, where) == where:
            lines.append(sentence(group, mixed))

    return lines


def sentence(group: list[Contrast], mixed: bool) -> str:
    """Return what contrasts of one kind, place, task and scale say together."""
    first = group[0]
    where = {"": "", SEARCH: "in the search, "}.get(
        first.left.where, f"in the factorial's budget `{first.left.where}`, "
    )
    about = f"{numbers.label(first.metric)} in {TASK_NAMES[first.left.task]}"
    head = opened(
        where + _settled(group, about), mixed=mixed, small=first.small, synthetic=first.synthetic
    )

    compared = [contrast for contrast in group if contrast.difference]
    if not compared:
        return f"{head}: no seed in common."
    settled = [contrast for contrast in compared if contrast.sign]
    least, most = (choose(settled or compared, key=_mean) for choose in (min, max))
    rest = " The other pairs are not settled." if 0 < len(settled) < len(compared) else ""
    ceiling = (
        " Where every run reaches 100%, nothing can be told apart."
        if any(c.at_ceiling for c in group)
        else ""
    )

    if least is most:
        return f"{head}: {detail(least)}.{rest}{ceiling}"
    return f"{head}. Least: {detail(least)}. Most: {detail(most)}.{rest}{ceiling}"


def detail(contrast: Contrast) -> str:
    """Return the number of one contrast with what it stands on."""
    points = f"{numbers.signed(contrast.metric, _mean(contrast))} points for {named(contrast)}"
    return f"{points} ({sure(contrast.metric, contrast.difference)})"


def values(contrasts: Iterable[Contrast]) -> str:
    """Return every number of a forest, for who cannot see it."""
    lines = (
        f"{named(pair)} {numbers.signed(pair.metric, _mean(pair))} "
        f"({sure(pair.metric, pair.difference)})"
        for pair in contrasts
    )
    return f"Values: {'; '.join(lines)}."


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
        Table(HEAD, [_line(contrast) for contrast in contrasts], frozenset(range(2, 8)))
        if contrasts
        else None
    )


def variances(contrasts: Iterable[Contrast]) -> Table | None:
    """Return the intervals over seeds, over images, and over both, where images were kept."""
    rows = [
        [
            named(pair),
            TASK_NAMES[pair.left.task],
            numbers.signed(pair.metric, pair.difference.mean),
            numbers.interval(pair.metric, pair.difference),
            numbers.ends(pair.metric, images.interval),
            numbers.ends(pair.metric, images.both) if images.both else "one seed",
            f"{images.images:,}",
            scale(pair),
        ]
        for pair in contrasts
        if pair.difference and (images := pair.over_images)
    ]
    return Table(VARIANCES, rows, frozenset(range(2, 7))) if rows else None


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
        [
            "Why this is a small-scale run, with the paper's figure in brackets. "
            f"{listed[:1].upper()}{listed[1:]}."
        ]
        if listed
        else []
    )


def certainty(contrasts: list[Contrast]) -> list[str]:
    """Seeds, and what else differs, over all contrasts of an answer."""
    if not contrasts:
        return []

    counts = [contrast.difference.n if contrast.difference else 0 for contrast in contrasts]
    least = min(counts)
    most = max(counts)
    lines = [
        f"{numbers.seeds(most)} a contrast."
        if least == most
        else f"{least} to {numbers.seeds(most)} a contrast."
    ]
    if any(contrast.confounded for contrast in contrasts):
        lines.append(
            "Some pairs differ in recipe or data too, as the table says: they do not show the "
            "operator alone."
        )

    return lines


def sampled(contrasts: Iterable[Contrast]) -> str:
    """Say of which pairs the sampling of the evaluation images is known."""
    kept = {contrast.over_images is not None for contrast in contrasts}
    where = (
        "Where predictions of single images were kept of both sides, a table under the answer says "
        "which variance is of seeds, which of images (paired bootstrap, seeds as they are), and "
        "what both come to."
    )

    if kept == {False}:
        return (
            "No predictions of single images were kept of these runs, so nothing is said of the "
            "sampling of evaluation images."
        )
    return f"{where} Other pairs are without it." if False in kept else where


def _line(contrast: Contrast) -> list[str]:
    difference = contrast.difference
    metric = contrast.metric

    return [
        f"{KINDS[contrast.kind][1]}; {located(contrast.left)}",
        named(contrast),
        numbers.signed(metric, difference.mean if difference else None),
        numbers.value(metric, difference.sd if difference else None),
        numbers.interval(metric, difference) if difference else "no seed in common",
        str(difference.n if difference else 0),
        numbers.chance(difference),
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
    what = KINDS[group[0].kind][0]
    signs = {contrast.sign for contrast in group}
    settled = signs - {0}

    if not settled:
        return f"no effect of {what} on {about} is settled"
    if len(settled) == 2:
        return f"{what} raised {about} in some pairs and lowered it in others"
    return f"{what} {'raised' if 1 in settled else 'lowered'} {about}"
