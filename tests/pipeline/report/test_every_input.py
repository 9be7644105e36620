"""Every number of the inputs shows: change one, and the report is another one.

Those that do not are named here.
"""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import UserError

# Read by other programs, or told by a page elsewhere: what the report says nothing of.
UNUSED = {
    "metrics.json": {
        "final.*",
        "best.*",
        "train_images_per_second",
        "seeds.*.final.top5",
        "seeds.*.best.top5",  # shown where a claim names it
        "seeds.*.final.loss",
        "seeds.*.final.step",
        "seeds.*.best.loss",
        "seeds.*.best.step",
    },
    "profile.json": set(),
    "best.json": {"seeds.*"},  # only their number
    "search.json": {"seeds.*", "trials", "recipe.*"},
    "design.json": {"seeds.*", "budgets.short.recipe.*"},
    "factorial/trials.csv": {"top5", "loss"},
    "tune/trials.csv": {"top5", "loss"},
}


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    """statsmodels collects garbage in every analysis; what the session holds need not be looked
    through each time.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def few(project: Any) -> Any:
    """Two networks on three tasks, two seeds."""
    for task in ("classify", "detect", "segment"):
        project.run(task, "swin_micro", "swin", values=[41.0, 43.0])
        project.run(task, "dwnet_micro", "dwnet", values=[44.0, 45.5])
    for name in ("swin_micro", "dwnet_micro"):
        project.profile(name, name.removesuffix("_micro"))
    return project


@pytest.fixture
def whole(few: Any) -> Any:
    """The same with a factorial and a search."""
    few.factorial(seeds=2)
    few.search()
    return few


@pytest.mark.parametrize(
    "path", ["classify/dwnet_micro/metrics.json", "profile/dwnet_micro/profile.json"]
)
def test_every_number_of_a_run_shows(few: Any, path: str) -> None:
    assert silent(few, few.root / "results" / path) == UNUSED[Path(path).name]


@pytest.mark.faults
@pytest.mark.parametrize("task", ["detect", "segment"])
@pytest.mark.parametrize("name", ["swin_micro", "dwnet_micro"])
def test_every_number_of_a_dense_run_shows(few: Any, task: str, name: str) -> None:
    unused = {place for place in UNUSED["metrics.json"] if not place.endswith("top5")}
    assert silent(few, few.root / "results" / task / name / "metrics.json") == unused


@pytest.mark.parametrize("path", ["tune/best.json", "tune/search.json", "factorial/design.json"])
def test_every_number_of_search_and_factorial_shows(whole: Any, path: str) -> None:
    assert silent(whole, whole.root / "results" / path) == UNUSED[Path(path).name]


@pytest.mark.parametrize("stage", ["factorial", "tune"])
def test_every_number_of_a_trial_shows(whole: Any, stage: str) -> None:
    rows, before = whole.trials(stage), whole.texts()
    numeric = [
        column for column in rows[0] if column != "mlflow_run_id" and _is_number(rows[0][column])
    ]
    assert {"top1", "best_top1", "macs", "wall_time_s", "seed"} <= set(numeric)
    quiet = {column for column in numeric if not _shows(whole, before, stage, rows, 3, column)}
    assert quiet == UNUSED[f"{stage}/trials.csv"]


@pytest.mark.faults
@pytest.mark.parametrize(("stage", "least"), [("factorial", 6), ("tune", 6)])
def test_the_metric_of_every_trial_shows(whole: Any, stage: str, least: int) -> None:
    rows, before = whole.trials(stage), whole.texts()
    for line in range(len(rows)):
        shown = [
            column
            for column in ("top1", "best_top1", "epoch", "wall_time_s", "world_size", "parameters")
            if _shows(whole, before, stage, rows, line, column)
        ]
        assert len(shown) == least, (line, shown)


def silent(project: Any, path: Path) -> set[str]:
    """The numbers of a JSON file that can change without the report, by their place in it."""
    tree, before = json.loads(path.read_text()), project.texts()
    found: set[str] = set()
    shown: set[str] = set()
    for place, change in leaves(tree):
        if place in shown:  # one of the numbers of a place is enough
            continue
        change()
        path.write_text(json.dumps(tree))
        (found if _texts(project) == before else shown).add(place)
        change()
    path.write_text(json.dumps(tree))
    return folded(found - shown)


def leaves(tree: Any, place: str = "") -> Iterator[tuple[str, Callable[[], None]]]:
    """Every number with its place, and a function that changes it and, called again, changes it
    back.
    """
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        here = f"{place}.{'*' if isinstance(tree, list) else key}".strip(".")
        if isinstance(value, dict | list):
            yield from leaves(value, here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            other = [value, value * 2 + 3]

            def change(tree: Any = tree, key: Any = key, other: list[float] = other) -> None:
                other.reverse()
                tree[key] = other[0]

            yield here, change


def folded(places: set[str]) -> set[str]:
    """Places under one that is silent as a whole, as one."""
    short = {"final", "best", "recipe", "left_out"}
    return {
        f"{place.partition(f'{part}.')[0]}{part}.*"
        if (part := next((p for p in place.split(".") if p in short), ""))
        and not place.startswith("seeds")
        else place
        for place in places
    }


def _shows(
    project: Any, before: Any, stage: str, rows: list[dict[str, Any]], line: int, column: str
) -> bool:
    changed = [dict(row) for row in rows]
    changed[line][column] = f"{float(rows[line][column]) * 2 + 3:.12g}"
    project.write_trials(stage, changed)
    try:
        return bool(_texts(project) != before)
    finally:
        project.write_trials(stage, rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _texts(project: Any) -> Any:
    """The report, or the sentence that refuses it."""
    try:
        return project.texts()
    except UserError as error:
        return str(error)
