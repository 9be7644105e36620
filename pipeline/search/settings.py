"""A setting: one variant under one recipe, and the values that set it apart. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from models.network.sizes import SIZES
from pipeline.core.errors import UserError, nearest
from pipeline.params import Params, Task, Variant
from pipeline.params.recipes import BaseRecipe
from pipeline.params.registry import classifier
from pipeline.params.section import merged
from pipeline.params.sentences import sentence

PATCH = 4
"""Pixels of the image to a position of the first stage's map (paper, section 1.1)."""
RECIPE = "recipe"
OPTIONS = "options"


class Impossible(Exception):
    """Values that are right by themselves and cannot go together; the message says why."""


@dataclass(frozen=True)
class Setting:
    """One point of a search or cell of a design; `section` holds it as the task's only variant, of
    this name.
    """

    name: str
    values: dict[str, Any]
    section: Task

    @property
    def variant(self) -> Variant:
        """The network."""
        return self.section.variants[self.name]

    @property
    def recipe(self) -> Any:
        """How it is trained."""
        return self.section.recipe_of(self.name)

    @property
    def label(self) -> str:
        """How people see it in logs."""
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or self.name


@dataclass(frozen=True)
class LeftOut:
    """A combination of values that cannot be run, and why."""

    values: dict[str, Any]
    reason: str


def make_setting(
    params: Params,
    task: str,
    recipe: Mapping[str, Any],
    entry: Mapping[str, Any],
    values: dict[str, Any],
    where: str,
    name: str | None = None,
) -> Setting:
    """Return the setting of a variant `entry`, trained by the task's recipe with the changes of
    `recipe`.

    Args:
        params: the whole parameters.
        task: classify, detect or segment.
        recipe: changes to the task's recipe, below those of the entry's own `recipe`.
        entry: the variant as params.yaml would have it.
        values: what sets it apart from the others.
        where: the section it is written in, for sentences.
        name: what it is called; made from the values where None.

    Raises:
        Impossible: the values do not go together.
        UserError: one of them is wrong by itself.
    """
    base: Task = getattr(params, task)
    changes = merged(dict(recipe), entry.get(RECIPE) or {})
    variant = checked(Variant, {**entry, RECIPE: changes}, where)
    trained = checked(
        type(base.recipe), merged(base.recipe.model_dump(), changes), f"{where}.{RECIPE}"
    )
    _refuse(variant, trained, where)

    name = name or name_of(values)
    section = type(base)(dataset=base.dataset, recipe=base.recipe, variants={name: variant})
    return Setting(name, values, section)


def checked(model: Any, tree: Mapping[str, Any], where: str) -> Any:
    """Return the validated section.

    Raises:
        Impossible: only rules between its fields are broken.
        UserError: a field is unknown, or its value is not of its type or range.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        wrong = [e for e in error.errors() if e["type"] != "value_error"]
        if wrong:
            raise UserError("; ".join(sentence(e, model, where) for e in wrong)) from None
        raise Impossible("; ".join(str(e["ctx"]["error"]) for e in error.errors())) from None


def _refuse(variant: Variant, recipe: BaseRecipe, where: str) -> None:
    """Refuse what the sections by themselves cannot know."""
    if recipe.init_from == classifier():
        raise UserError(
            f"{where}.recipe.init_from: a setting has no classification weights of its own; give "
            "a file, or null"
        )

    image = recipe.network_size
    kernel = variant.kernel_size
    if image is not None and kernel is not None and kernel > (side := -(-image // PATCH)):
        raise Impossible(
            f"kernel_size {kernel} is larger than the largest map, {side}x{side} of {image} pixels"
        )


def name_of(values: Mapping[str, Any]) -> str:
    """Return a variant's name made from values, of letters, digits and `_` alone."""
    parts = [
        str(value) if key == "mixer" else f"{key.rpartition('.')[2]}_{value}"
        for key, value in values.items()
    ]
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in "_".join(parts)) or "base"


def known_parameters(task: str, recipe: type[BaseRecipe]) -> list[str]:
    """Return the dotted names that a space may hold."""
    fields = [name for name in Variant.model_fields if name not in (RECIPE, OPTIONS, "seeds")]
    return [*fields, *_dotted(recipe, RECIPE)]


def _dotted(model: Any, prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        nested = (
            isinstance(inner, type)
            and hasattr(inner, "model_fields")
            and not {"epochs"} & set(inner.model_fields)
        )
        names += _dotted(inner, f"{prefix}.{name}") if nested else [f"{prefix}.{name}"]

    return names


def refuse_unknown(name: str, parameters: list[str], where: str) -> None:
    """Raise UserError for a name that is no parameter."""
    options = name.startswith(f"{OPTIONS}.") and name.count(".") == 1
    if name not in parameters and not options:
        raise UserError(f"{where}.{name}: unknown parameter; {nearest(name, parameters)}")


def entry_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names and their values into a variant's entry."""
    entry: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        place = entry
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value

    return entry


def channels(variant: Variant) -> int:
    """Return the channels of a variant's first stage."""
    return variant.embed_dim or SIZES[variant.size or "tiny"].embed_dim
