"""`--set a.b.c=value`: text where the parameter is text, YAML where it is anything else."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.core.errors import UserError, discreet, shortened
from pipeline.params.reading import parse
from pipeline.params.recipes import BaseRecipe


def override(tree: dict[str, Any], item: str, model: type[BaseModel]) -> None:
    """Apply one `a.b.c=value` to the tree of a params file, the value typed by the model's field.

    Text is taken as it stands: `my #1`, `a: b` and `2012` are names of folders. Where a parameter
    may be null, `null` is; where it may be text or something else, what reads as mappings is the
    other.

    Raises:
        UserError: it is not written so, passes through a value, or its value is not YAML.
    """
    dotted, sign, text = item.partition("=")
    readable = shortened(discreet(item), 120)
    if not sign or not all(dotted.split(".")):
        raise UserError(f"--set {readable}: write it as a.b.c=value")

    *parents, last = dotted.split(".")
    for key in parents:
        if tree.get(key) is None:
            tree[key] = {}
        tree = tree[key]
        if not isinstance(tree, dict):
            raise UserError(f"--set {readable}: {shortened(key)} is a value, not a section")

    kinds = kinds_of(_type_at(model, [*parents, last]))
    tree[last] = _typed(text, kinds, f"--set {readable}")


def _typed(text: str, kinds: set[Any], where: str) -> Any:
    if str not in kinds:
        return parse(text, where)
    if text == "null" and type(None) in kinds:
        return None
    if text.lstrip()[:1] in ("[", "{") and kinds - {str, type(None)}:
        value = parse(text, where)
        rows = value if isinstance(value, list) else [value]
        if rows and all(isinstance(row, dict) for row in rows):
            return value
    return text


def _type_at(model: type[BaseModel], keys: list[str]) -> Any:
    """Return the type of the parameter with these keys; Any where the params do not say."""
    current: Any = model
    for key in keys:
        sections = [kind for kind in kinds_of(current) if is_section(kind)]
        fields = [section.model_fields[key] for section in sections if key in section.model_fields]
        if fields:
            current = fields[0].annotation
        elif values := [
            get_args(kind)[1] for kind in kinds_of(current) if get_origin(kind) is dict
        ]:
            current = values[0]
        else:
            return Any
        if key == "recipe" and not any(map(is_section, kinds_of(current))):
            # what differs from the task's
            current = BaseRecipe

    return current


def kinds_of(annotation: Any) -> set[Any]:
    """Return what a type may be, unions and annotations opened."""
    if get_origin(annotation) is Annotated:
        return kinds_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(kinds_of, get_args(annotation)))
    return {annotation}


def is_section(kind: Any) -> bool:
    """Return whether a type is a section."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)
