"""What pydantic finds wrong, as sentences: where, what, and the nearest right name."""

import re
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipeline.errors import discreet, nearest


def sentence(error: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    """Turn one pydantic error into `where: what, and the nearest right name`."""
    where = ".".join([prefix, *map(str, error["loc"])]).strip(".")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; {nearest(str(error['loc'][-1]), _keys_at(model, error['loc'][:-1]))}"
    message = re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])
    given = "" if error["type"] in ("value_error", "missing") else f" (given: {discreet(repr(error['input']))})"
    return f"{where}: {message}{given}" if where else message


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `loc` knows."""
    current: Any = model
    for part in loc:
        if not _is_section(current):  # a mapping: its values
            current = _section_in(current)
        elif str(part) in current.model_fields:  # or else the number of an item, or the name of a choice
            current = current.model_fields[str(part)].annotation
            if getattr(current, "__origin__", None) is not dict:
                current = _section_in(current) or current
    return list(current.model_fields) if _is_section(current) else []


def _section_in(annotation: Any) -> Any:
    """Return the first section in an annotation, or None."""
    if _is_section(annotation):
        return annotation
    found = (_section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in found if section is not None), None)


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
