"""The search: what was varied, what came out best, and its pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import fmean
from typing import Any

import yaml

from pipeline.params.registry import classifier
from pipeline.report import numbers
from pipeline.report.answers import words
from pipeline.report.answers.answer import Evidence
from pipeline.report.claims import TASK_NAMES
from pipeline.report.document import Block, Bullets, Figure, Folded, Paragraph, Table, code
from pipeline.report.hours import hours
from pipeline.report.samples import of_search
from pipeline.report.search_figures import settings_drawing
from pipeline.report.statistics import best_by_luck, summarise
from pipeline.report.tracked import Tracked
from pipeline.report.trials import SearchResults, TrialFile, called
from pipeline.runs.results.search import RangeFile

CAPTIONS = {
    "curves": "Every trial of the search over its epochs.",
    "pareto": "Every setting of the search by accuracy and cost; the line joins those that no "
    "other beats in both.",
}


def search_blocks(evidence: Evidence, tracked: Tracked) -> list[Block]:
    """Return the section."""
    search = evidence.search
    if search is None:
        makes = evidence.results.again("tune")
        return [Paragraph(f"No search has been run; `{makes}` makes it.")]

    space = search.space
    small = any(sample.small for _, sample in of_search(search))
    varied = "; ".join(_axis(key, values) for key, values in space.space.items())
    data = space.data
    pixels = f" at {space.image_size} pixels" if space.image_size else ""
    what = (
        f"{words.scale_of(small or data.synthetic, data.synthetic).capitalize()}: "
        f"{code(space.searcher)} search "
        f"(scheduler {code(space.scheduler)}) for {numbers.label(space.metric)} in "
        f"{TASK_NAMES[space.task]}, over "
        f"{varied}; {numbers.seeds(len(space.seeds))}, "
        f"{numbers.count(space.epochs, 'epoch')}{pixels}. Of the "
        f"{data.train_samples:,} training images {100 * space.hold_out:.4g}% were held out: no "
        "trial trained on them, "
        f"and they judged all. The {data.val_samples:,} validation images were not looked at."
    )

    blocks: list[Block] = [Paragraph(what), Bullets(_found(search, tracked))]
    if search.trials:
        blocks.append(_table(search))
    blocks += pictures(search)
    if search.trials:
        blocks.append(Folded("Every trial, with its run", [_trial_table(search, tracked)]))
    return blocks


def _axis(key: str, values: list[Any] | RangeFile) -> str:
    """Return what a search varied, and over what."""
    if isinstance(values, RangeFile):
        return f"{code(key)} between {code(str(values.low))} and {code(str(values.high))}"
    return f"{code(key)} of {code(', '.join(map(str, values)))}"


def pictures(search: SearchResults) -> list[Block]:
    """Return the picture of all settings, then those that the stage drew, under the names that they
    have beside the report.
    """
    drawing = settings_drawing(search)
    own: list[Block] = [drawing.figure] if drawing else []
    return own + [Figure(file_of(path.name), CAPTIONS[path.stem]) for path in search.pictures]


def file_of(name: str) -> str:
    """Return a picture's name beside the report."""
    return f"search_{name}"


def _found(search: SearchResults, tracked: Tracked) -> list[str]:
    space = search.space
    best = search.best
    states = Counter(trial.state for trial in search.trials)
    counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))

    items = [
        f"Trials by state: {counted or 'none'}; "
        f"{tracked.link(space.mlflow_run_id, 'the sweep in MLflow')}."
    ]
    if best.values is None:
        items.append(f"No best setting: {code(best.reason)}.")
    else:
        spread = f" ± {numbers.value(space.metric, best.sd)}" if best.sd is not None else ""
        value = f"{numbers.value(space.metric, best.mean)}{spread}"
        items.append(
            f"Best setting: {code(called(best.values))}, {numbers.labelled(space.metric)} "
            f"{value} over "
            f"{numbers.seeds(len(best.seeds))} on held-out images, the number that it was "
            "chosen by. "
            f"As an entry of params.yaml: {code(_entry(best.variant))}."
        )

        items += _floor(search)
    items += [f"Took {spent.words} on {code(spent.device)}." for spent in hours(search.trials)]
    items += [
        f"Left out: {code(called(out.values))} ({code(out.reason)})." for out in space.left_out
    ]

    return [
        *items,
        *words.why_small(
            dict.fromkeys(reason for _, sample in of_search(search) for reason in sample.small)
        ),
    ]


def _floor(search: SearchResults) -> list[str]:
    """Return what the best of as many equal settings would show by luck."""
    space = search.space
    best = search.best
    settings = [list(sample.values.values()) for _, sample in of_search(search)]
    tried = len({trial.setting for trial in search.trials if trial.state != "failed"})
    if best.mean is None or len(settings) < 2:
        return []

    images = round(space.hold_out * space.data.train_samples)
    right = space.task == classifier()
    above = best_by_luck(settings, tried, images if right else None)
    if above is None:
        return ["Selection floor: not known, with one seed a setting."]

    mean = fmean(fmean(values) for values in settings)
    sign = 1 if space.mode == "max" else -1
    sources = [
        *(["seeds"] if any(len(values) > 1 for values in settings) else []),
        *([f"{images:,} held-out images"] if right else []),
    ]

    return [
        f"Selection floor: the best of {tried} equal settings would show "
        f"{numbers.value(space.metric, mean + sign * above)} by luck, "
        f"{numbers.value(space.metric, above)} points from the mean of all. This one lies "
        f"{numbers.value(space.metric, sign * (best.mean - mean))} points from it. "
        f"What scatters is {words.listed(sources)}."
    ]


def _entry(variant: dict[str, Any]) -> str:
    """Return an entry of params.yaml in one line."""
    return yaml.safe_dump(variant, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _table(search: SearchResults) -> Table:
    metric = search.space.metric
    best = -1 if search.space.mode == "max" else 1
    ranked = sorted(of_search(search), key=lambda item: best * fmean(item[1].values.values()))

    rows = [
        [
            code(sample.name),
            numbers.spread(metric, summarise(list(sample.values.values()))),
            str(len(sample.values)),
            numbers.value(
                "parameters_m", sample.parameters / 1e6 if sample.parameters is not None else None
            ),
            numbers.value("macs_g", sample.macs / 1e9 if sample.macs is not None else None),
            numbers.speed(sample.train_images_per_second),
            words.scale_of(bool(sample.small), sample.synthetic),
        ]
        for _, sample in ranked
    ]

    head = [
        "setting",
        f"{numbers.labelled(metric)}, held out",
        "seeds",
        "parameters, M",
        "MACs, G",
    ]
    return Table([*head, "training, images/s", "scale"], rows, frozenset(range(1, 6)))


def _trial_table(search: SearchResults, tracked: Tracked) -> Table:
    return trial_table(
        list(search.trials),
        search.space.metric,
        tracked,
        "setting",
        lambda trial: code(trial.setting),
    )


def trial_table(
    trials: list[TrialFile],
    metric: str,
    tracked: Tracked,
    first: str,
    name: Callable[[TrialFile], str],
) -> Table:
    """Return a line for each trial."""
    rows = [
        [
            name(trial),
            str(trial.seed),
            trial.state,
            numbers.NOTHING if trial.epoch is None else f"{trial.epoch:g}",
            numbers.value(metric, trial.value),
            numbers.value(metric, trial.best),
            numbers.speed(trial.wall_time_s),
            tracked.link(trial.mlflow_run_id, code(trial.run_id[:12]))
            if trial.run_id
            else numbers.NOTHING,
            code(trial.error) if trial.error else "",
        ]
        for trial in trials
    ]

    head = [
        first,
        "seed",
        "state",
        "epoch",
        f"{numbers.labelled(metric)}, last",
        "best",
        "seconds",
        "run",
        "error",
    ]
    return Table(head, rows, frozenset({1, 3, 4, 5, 6}))
