"""The first screen: what was compared, on what, and five answers beside the paper's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pipeline.report import numbers
from pipeline.report.answers.all_tasks import BEHIND, OPEN, verdict
from pipeline.report.answers.answer import KEY, Answer
from pipeline.report.answers.words import listed, mixer_in_words
from pipeline.report.claims import TASK_NAMES, TASKS, Claim
from pipeline.report.contrasts import Contrast
from pipeline.report.document import Block, Paragraph, Table, anchor, code, plain
from pipeline.report.results import Results, VariantResult
from pipeline.report.scale import small_because
from pipeline.runs.results.training import Metrics

SHORT = (
    "What do few links and shared weights give?",
    "What do dynamic weights add?",
    "Depth-wise networks beside Swin?",
    "How large are the factors?",
    "Does the simple network match Swin on all tasks?",
)
PAPER = (
    "Shared over positions is better: {sharing-dwnet-both.top1} against "
    "{sharing-dwnet-channels.top1} top-1. Over channels too costs little: "
    "{sharing-dwnet-both.top1} against {sharing-dwnet-positions.top1}.",
    "Top-1 {readme-dynamic_dwnet_tiny.top1} against {readme-dwnet_tiny.top1} at size tiny, "
    "{readme-dynamic_dwnet_base.top1} against {readme-dwnet_base.top1} at base.",
    "As accurate, and cheaper: {readme-dwnet_tiny.top1} top-1, "
    "{readme-dwnet_tiny.parameters_m} M, {t1-dwnet_tiny.images_per_second} images/s; Swin-T "
    "{swin-swin_tiny.top1}, {swin-swin_tiny.parameters_m} M, "
    "{t1-swin_tiny.images_per_second} images/s.",
    "Never crossed. One at a time: positions {sharing-dwnet-both.top1} against "
    "{sharing-dwnet-channels.top1}, dynamic {readme-dynamic_dwnet_tiny.top1} against "
    "{readme-dwnet_tiny.top1}.",
    "Nearly: top-1 {readme-dwnet_tiny.top1} (Swin-T {swin-swin_tiny.top1}), box AP "
    "{readme-detect-dwnet_tiny.box_ap} ({swin-detect-swin_tiny.box_ap}), mIoU "
    "{readme-segment-dwnet_tiny.miou} ({swin-segment-swin_tiny.miou}).",
)
"""The paper's answers; braces hold claims, and those that are recalled get a mark."""

RECALLED = "†"
AGREES = "agrees"
DIFFERS = "differs"
UNSETTLED = "not settled"
NOT_RUN = "not run"
NO_ANSWER = "no answer"
UNJUDGED = "not judged"
HEAD = ["question", "the paper", "these runs", "verdict"]


def first_screen(
    results: Results,
    answers: Sequence[Answer],
    claims: Sequence[Claim],
    margin: Mapping[str, float],
    dated: Mapping[str, str],
) -> list[Block]:
    """Return what stands above everything else.

    Args:
        results: what was trained.
        answers: the five, in order.
        claims: published numbers, of which the paper's answers are made.
        margin: what counts as a difference, in points of each metric.
        dated: the day of a commit, for the commits that git knows.
    """
    runs = [(result, result.metrics) for result in results.run if result.metrics]
    small = any(small_because(metrics) for _, metrics in runs)

    rows = [
        [
            f"[{short}](#{anchor(answer.title)})",
            _published(paper, claims),
            *_ours(answer, margin),
        ]
        for short, paper, answer in zip(SHORT, PAPER, answers, strict=True)
    ]
    caption = f"{RECALLED} recalled from the paper and not checked against its text."

    return [
        Paragraph(_compared(results)),
        Paragraph(_reach(runs, dated), notice=small or not runs),
        Table(HEAD, rows, caption=caption, kind="answers"),
    ]


def _compared(results: Results) -> str:
    mixers = dict.fromkeys(mixer_in_words(result.variant.mixer) for result in results.variants)
    ways = listed([plain(mixer) for mixer in mixers]) or "No network"
    return f"{ways} in one backbone, beside arXiv 2106.04263 (Han et al.)."


def _reach(runs: Sequence[tuple[VariantResult, Metrics]], dated: Mapping[str, str]) -> str:
    """Say on what, when, where and at what scale, and how far that reaches."""
    small = [metrics for _, metrics in runs if small_because(metrics)]
    if not runs:
        return "**Nothing has been run yet.** `make repro` runs what params.yaml names."

    alike: dict[str, list[str]] = {}
    for task in TASKS:
        if runs_of_task := [metrics for result, metrics in runs if result.task == task]:
            alike.setdefault(_length(runs_of_task), []).append(TASK_NAMES[task])

    facts = "; ".join(f"{listed(tasks)}: {length}" for length, tasks in alike.items())
    devices = ", ".join(dict.fromkeys(code(metrics.device) for _, metrics in runs))
    commits = ", ".join(
        dict.fromkeys(
            code(metrics.commit[:10]) + (f" of {day}" if (day := dated.get(metrics.commit)) else "")
            for _, metrics in runs
            if metrics.commit
        )
    )
    conditions = f"On {devices}" + (f", code {commits}." if commits else ".")
    return f"{_caution(small, len(runs))} {facts[0].upper()}{facts[1:]}. {conditions}"


def _caution(small: Sequence[Metrics], runs: int) -> str:
    if not small:
        return "At the paper's scale."
    synthetic = [metrics for metrics in small if metrics.data.synthetic]
    if len(synthetic) == runs:
        return "**Small-scale run on synthetic images: no answer about vision.**"
    if len(small) == runs:
        more = " Those on synthetic images show the machinery alone." if synthetic else ""
        return f"**Small-scale run: no verdict on the paper.**{more}"
    return f"**{len(small)} of {runs} runs are small-scale runs, and marked so.**"


def _length(runs: Sequence[Metrics]) -> str:
    """Return how many images of what, and how long."""
    real = dict.fromkeys(
        code(metrics.data.dataset) for metrics in runs if not metrics.data.synthetic
    )
    of_what = f" of {listed(real)}" if real else ""
    images = _range({metrics.data.train_samples for metrics in runs})
    epochs = _range({metrics.epochs for metrics in runs})
    seeds = _range({len(metrics.seeds) for metrics in runs})
    return f"{images} images{of_what}, {epochs} epochs, {seeds} seed{'' if seeds == '1' else 's'}"


def _range(values: Iterable[float]) -> str:
    ends = sorted({min(values := list(values)), max(values)})
    return " to ".join(f"{end:,.0f}" if end >= 100 else f"{end:.3g}" for end in ends)


def _published(text: str, claims: Sequence[Claim]) -> str:
    """Put published numbers into an answer of the paper."""
    by_id = {claim.id: claim for claim in claims}

    def number(place: re.Match[str]) -> str:
        claim = by_id[place[1]]
        mark = "" if claim.published else RECALLED
        return numbers.published(claim.metric, claim.value) + mark

    return plain(re.sub(r"\{([^}]+)\}", number, text))


def _ours(answer: Answer, margin: Mapping[str, float]) -> tuple[str, str]:
    """Return what the runs say in a few words, and how that stands to the paper."""
    if not answer.runs:
        return "Not run.", NOT_RUN
    if all(sample.synthetic for sample in answer.runs):
        return "Synthetic images: no answer.", NO_ANSWER
    if answer.brief:
        return answer.brief, UNJUDGED
    return answer.told or "No pair was run.", _judged(answer.key, margin)


def _judged(pairs: Sequence[Contrast], margin: Mapping[str, float]) -> str:
    """Whether the pairs say what the paper says; runs of another scale cannot."""
    if not pairs:
        return NOT_RUN
    if any(pair.small or pair.kind not in KEY for pair in pairs):
        return UNJUDGED
    verdicts = {_stands(pair, margin.get(pair.metric, 0.0)) for pair in pairs}
    return DIFFERS if DIFFERS in verdicts else UNSETTLED if UNSETTLED in verdicts else AGREES


def _stands(pair: Contrast, margin: float) -> str:
    """Swin is to be matched; shared and dynamic weights are to be better."""
    if pair.kind in ("swin", "static swin"):
        return {BEHIND: DIFFERS, OPEN: UNSETTLED}.get(verdict(pair, margin), AGREES)
    return {1: AGREES, -1: DIFFERS, 0: UNSETTLED}[pair.sign]
