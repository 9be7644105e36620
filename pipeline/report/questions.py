"""The five questions of the experiment, each with what the runs at hand can say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.report import numbers
from pipeline.report.claims import TASKS
from pipeline.report.contrasts import Contrast, kernel_pairs, mixer_pairs, sharing_pairs
from pipeline.report.document import Block, Bullets, Heading, Paragraph
from pipeline.report.results import Profile, Result, Results
from pipeline.report.scale import small_because

STATIC, DYNAMIC = ("dwnet",), ("dynamic_dwnet", "i_dynamic_dwnet")
UNSHARED = ("locally_connected", "local_mlp")
ATTENTION = ("swin",)
TASK_NAMES = {"classify": "classification", "detect": "detection", "segment": "segmentation"}
NEVER = "No two runs differ in this alone, so the present runs say nothing about it."


def questions(results: Results) -> list[Block]:
    """All five, in order."""
    everything = list(results.variants)
    asked = (
        ("1. What do sparse connectivity and weight sharing contribute?", _sharing(everything)),
        ("2. How much do dynamic weights add over static ones?", _dynamic(everything)),
        (
            "3. How do (dynamic) depth-wise networks stand against Swin, in accuracy and in cost?",
            _against_swin(everything),
        ),
        ("4. How large are the factors beside each other?", _factors(results)),
        ("5. Does the simpler network match or beat Swin on all three tasks?", _all_tasks(results)),
    )
    blocks: list[Block] = []
    for title, (contrasts, more) in asked:
        lines = [sentence(contrast) for contrast in contrasts] + more
        blocks.append(Heading(3, title))
        blocks.append(Bullets(lines) if lines else Paragraph(NEVER))
        if lines and (caution := _caution(contrasts)):
            blocks.append(Paragraph(caution))
    return blocks


def sentence(contrast: Contrast) -> str:
    """One contrast in words."""
    head = f"{TASK_NAMES[contrast.left.task]}: `{contrast.left.name}` minus `{contrast.right.name}`"
    difference, metric = contrast.difference, contrast.metric
    if difference is None:
        return f"{head}: no seed in common, so no difference."
    certainty = "one seed, no interval"
    if difference.interval is not None:
        certainty = f"95% interval {numbers.interval(metric, difference)}, {numbers.seeds(difference.n)}"
    beside = f"; also differing in {', '.join(contrast.confounded)}" if contrast.confounded else ""
    points = f"{numbers.signed(metric, difference.mean)} points of {numbers.label(metric)}"
    return f"{head}: {points} ({certainty}{beside})."


def _sharing(results: list[Result]) -> tuple[list[Contrast], list[str]]:
    found = _per_task(
        results, lambda runs: [*kernel_pairs(runs), *sharing_pairs(runs), *mixer_pairs(runs, STATIC, UNSHARED)]
    )
    return found, []


def _dynamic(results: list[Result]) -> tuple[list[Contrast], list[str]]:
    return _per_task(results, lambda runs: mixer_pairs(runs, DYNAMIC, STATIC)), []


def _against_swin(results: list[Result]) -> tuple[list[Contrast], list[str]]:
    found = _per_task(results, lambda runs: mixer_pairs(runs, (*STATIC, *DYNAMIC), ATTENTION))
    return found, [cost for contrast in found if contrast.left.task == "classify" and (cost := _cost(contrast))]


def _cost(contrast: Contrast) -> str:
    """What the left network costs in units of the right one, where both were profiled alike."""
    left, right = contrast.left.profile, contrast.right.profile
    if left is None or right is None:
        return ""
    if _protocol(left) != _protocol(right):
        return ""
    ratios = (
        f"{left.parameters / right.parameters:.2f} times the parameters",
        f"{left.flops / right.flops:.2f} times the multiply-adds",
        f"{left.inference_images_per_second / right.inference_images_per_second:.2f} times the images a second",
    )
    return f"cost of `{contrast.left.name}` beside `{contrast.right.name}`: {', '.join(ratios)} in inference."


def _protocol(profile: Profile) -> tuple[object, ...]:
    """What must be the same for two speeds to compare."""
    return profile.device, profile.precision, profile.layout, profile.batch_size, profile.image_size


def _factors(results: Results) -> tuple[list[Contrast], list[str]]:
    """Main effects and interactions need the crossed design; saying so beats ranking unrelated contrasts."""
    fewest = min((len(result.metrics.seeds) for result in results.run if result.metrics), default=0)
    if not fewest:
        return [], []
    return [], [
        "Not answered: it takes sharing over positions, sharing over channels and dynamic weights crossed in one "
        "network, each cell with at least 3 common seeds. "
        f"These are {len(results.run)} runs, the fewest with {numbers.seeds(fewest)}."
    ]


def _all_tasks(results: Results) -> tuple[list[Contrast], list[str]]:
    pairs = {task: mixer_pairs(results.of(task), STATIC, ATTENTION) for task in TASKS}
    missing = [f"{TASK_NAMES[task]}: not run with both networks." for task in TASKS if not pairs[task]]
    found = [contrast for contrasts in pairs.values() for contrast in contrasts]
    return found, missing if found else []


def _per_task(results: list[Result], pairs: Callable[[list[Result]], list[Contrast]]) -> list[Contrast]:
    return [contrast for task in TASKS for contrast in pairs([result for result in results if result.task == task])]


def _caution(contrasts: Iterable[Contrast]) -> str:
    runs = [side.metrics for contrast in contrasts for side in (contrast.left, contrast.right) if side.metrics]
    if any(metrics.data.synthetic for metrics in runs):
        return "**Synthetic data: this shows the machinery, no answer about vision.**"
    if any(small_because(metrics) for metrics in runs):
        return "**From a small-scale run: no answer at the paper's scale.**"
    return ""
