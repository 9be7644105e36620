"""The factorial design: which networks stand for which cell, their controls, and the contrasts
beside them.

The depth-wise skeleton with four operators crosses sharing over positions with dynamic weights; how
many channels share a weight is an option of each (paper, sections 1.3 and 3.3).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import UserError, nearest
from pipeline.params import Params
from pipeline.params.recipes import IMAGE_SIZE
from pipeline.params.section import merged
from pipeline.search.settings import Impossible, Setting, make_setting

WHERE = "factorial"
OPERATORS = {
    (True, False): "dwnet",
    (False, False): "locally_connected",
    (True, True): "dynamic_dwnet",
    (False, True): "i_dynamic_dwnet",
}
"""(shared over positions, dynamic) to the mixer of the depth-wise skeleton that is so."""
REFERENCE = "shared_channel_static"
SAME = 0.02
"""Networks whose parameters differ by less than this share need no control."""


@dataclass(frozen=True)
class Cell:
    """The three switches of a cell."""

    shared_positions: bool
    channel_groups: str
    dynamic: bool

    @property
    def name(self) -> str:
        """What the cell's setting is called."""
        positions = "shared" if self.shared_positions else "own"
        weights = "dynamic" if self.dynamic else "static"
        return f"{positions}_{self.channel_groups}_{weights}"


@dataclass(frozen=True)
class Design:
    """The settings of one budget, and what each is there for."""

    settings: list[Setting]
    cells: dict[str, Cell] = field(default_factory=dict)
    controls: dict[str, str] = field(default_factory=dict)
    contrasts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def contrasted(self) -> dict[str, list[tuple[str, str]]]:
        """Return the pairs whose both sides can be run."""
        runnable = {setting.name for setting in self.settings}
        return {
            name: [pair for pair in pairs if set(pair) <= runnable]
            for name, pairs in self.contrasts.items()
        }


def designs_of(params: Params, controls: bool = True) -> dict[str, Design]:
    """Return the design of each budget; without `controls` torch is not needed, and they are left
    aside.

    Raises:
        UserError: there are neither levels nor settings, or a contrast names a setting that is not
            there.
    """
    section = params.factorial
    if not section.group_channels and not section.settings:
        raise UserError(
            "factorial is empty; give group_channels its levels, e.g. [1, 32, all], or settings"
        )

    return {
        budget: _design(params, changes, controls and section.controls)
        for budget, changes in section.budgets.items()
    }


def _design(params: Params, changes: Mapping[str, Any], controls: bool) -> Design:
    section = params.factorial
    settings = []
    cells = dict[str, Cell]()
    left_out = dict[str, str]()

    entries = [*((cell.name, cell, entry) for cell, entry in _cells(params)), *_others(params)]
    for name, cell, entry in entries:
        try:
            settings.append(_setting(params, changes, name, entry))
        except Impossible as reason:
            left_out[name] = str(reason)
            continue
        if cell is not None:
            cells[name] = cell

    if not settings:
        raise UserError(
            f"factorial has no setting that can be run: {next(iter(left_out.values()))}"
        )

    for name in {name for pairs in section.contrasts.values() for pair in pairs for name in pair}:
        if name not in (entry_names := [entry[0] for entry in entries]):
            raise UserError(
                f"factorial.contrasts: there is no setting '{name}'; {nearest(name, entry_names)}"
            )

    matched = _controls(params, changes, settings, cells) if controls else {}
    settings += list({setting.name: setting for setting in matched.values()}.values())
    pairs = {name: [*pairs] for name, pairs in section.contrasts.items()}
    return Design(
        settings, cells, {cell: setting.name for cell, setting in matched.items()}, pairs, left_out
    )


def _cells(params: Params) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield every cell with its entry."""
    section = params.factorial
    for (shared, dynamic), mixer in OPERATORS.items():
        for level in section.group_channels:
            sharing = level if level == "all" else "channel" if level == 1 else "group"
            options = {"groups": 1} if level == "all" else {"group_channels": level}
            yield Cell(shared, sharing, dynamic), {**section.base, "mixer": mixer, **options}


def _others(params: Params) -> Iterator[tuple[str, None, dict[str, Any]]]:
    cells = {cell.name for cell, _ in _cells(params)}
    for name, variant in params.factorial.settings.items():
        if name in cells:
            raise UserError(f"factorial.settings.{name}: a cell has this name; choose another")
        yield name, None, variant.model_dump(exclude_defaults=True)


def _setting(
    params: Params, changes: Mapping[str, Any], name: str, entry: Mapping[str, Any]
) -> Setting:
    section = params.factorial
    recipe = merged(section.recipe, dict(changes))
    return make_setting(params, section.task, recipe, entry, {"setting": name}, WHERE, name)


def _controls(
    params: Params, changes: Mapping[str, Any], settings: list[Setting], cells: dict[str, Cell]
) -> dict[str, Setting]:
    """Return for each cell of more parameters than the static convolution that convolution made as
    large.

    Cells of the same size share a control.
    """
    by_name = {setting.name: setting for setting in settings}
    reference = by_name.get(REFERENCE)
    if reference is None or reference.variant.mixer == "timm":
        return {}
    from models.counting.matching import matched_mlp_ratio

    variant = reference.variant
    image_size = reference.recipe.network_size
    base = count(reference)
    by_size: dict[int, Setting] = {}
    control_of = {}

    for name in cells:
        if (parameters := count(by_name[name])) <= base * (1 + SAME):
            continue
        alike = next(
            (control for size, control in by_size.items() if abs(size - parameters) < SAME * size),
            None,
        )
        if alike is None:
            ratio, _ = matched_mlp_ratio(
                variant.model_name, variant.overrides, parameters, 1000, image_size
            )
            entry = {
                **variant.model_dump(exclude_defaults=True, exclude={"recipe"}),
                "mlp_ratio": ratio,
            }
            alike = by_size[parameters] = _setting(params, changes, f"as_large_as_{name}", entry)
        control_of[name] = alike

    return control_of


def count(setting: Setting) -> int:
    """Return the parameters of a setting's network with 1000 classes; weights take no memory for
    it.
    """
    import torch

    import models

    bound = (
        {}
        if setting.variant.mixer == "timm"
        else {"image_size": setting.recipe.network_size or IMAGE_SIZE}
    )
    with torch.device("meta"):
        model = models.create_model(
            setting.variant.model_name, 1000, **{**bound, **setting.variant.overrides}
        )

    return sum(parameter.numel() for parameter in model.parameters())
