"""What a params file would train: variants of the tasks, settings of the search, and those of the
design.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.core.files import digest
from pipeline.params import TASKS, Params, Task
from pipeline.search.factorial.design import designs_of
from pipeline.search.settings import Setting
from pipeline.search.tune.space import settings_of

TUNE = "tune"
FACTORIAL = "factorial"
PARTS = (*TASKS, TUNE, FACTORIAL)


@dataclass(frozen=True)
class WalkItem:
    """One training: a variant of a section, under the name that people know it by."""

    part: str
    label: str
    task: str
    section: Task
    variant: str

    @property
    def decides(self) -> str:
        """A digest of what would decide its result, seeds aside; two places may be the same
        training.
        """
        entry = self.section.variants[self.variant]
        recipe = self.section.recipe_of(self.variant)
        return digest(
            [self.task, entry.model_name, entry.overrides, recipe.model_dump(mode="json")]
        )


@dataclass(frozen=True)
class NotWalked:
    """What the params file names and cannot be run by its own rules, and why."""

    part: str
    label: str
    reason: str


def places_of(params: Params, part: str) -> tuple[list[WalkItem], list[NotWalked]]:
    """Return everything of one part of a params file; a part that is empty has no places.

    Raises:
        UserError: its space or design is wrong.
    """
    readers: dict[str, Callable[[Params], tuple[list[WalkItem], list[NotWalked]]]] = {
        TUNE: _tune,
        FACTORIAL: _factorial,
    }
    if part in readers:
        return readers[part](params)
    section: Task = getattr(params, part)
    return [WalkItem(part, name, part, section, name) for name in section.variants], []


def spread(places: list[WalkItem], count: int | None) -> list[WalkItem]:
    """Return so many of them from all over the list, the first one among them; all where `count` is
    None.
    """
    if count is None or count >= len(places):
        return places
    chosen = np.linspace(0, len(places), count, endpoint=False).astype(int)
    return [places[index] for index in chosen]


def _tune(params: Params) -> tuple[list[WalkItem], list[NotWalked]]:
    if not params.tune.space:
        return [], []
    settings, left_out = settings_of(params)

    task = params.tune.task
    named = [
        NotWalked(TUNE, " ".join(f"{k}={v}" for k, v in row.values.items()), row.reason)
        for row in left_out
    ]
    return [_place(TUNE, setting.label, task, setting) for setting in settings], named


def _factorial(params: Params) -> tuple[list[WalkItem], list[NotWalked]]:
    section = params.factorial
    if not section.group_channels and not section.settings:
        return [], []

    return list(_cells(params)), [
        NotWalked(FACTORIAL, f"{budget} {name}", reason)
        for budget, design in designs_of(params, controls=False).items()
        for name, reason in design.left_out.items()
    ]


def _cells(params: Params) -> Iterator[WalkItem]:
    for budget, design in designs_of(params).items():
        for setting in design.settings:
            yield _place(FACTORIAL, f"{budget} {setting.name}", params.factorial.task, setting)


def _place(part: str, label: str, task: str, setting: Setting) -> WalkItem:
    return WalkItem(part, label, task, setting.section, setting.name)
