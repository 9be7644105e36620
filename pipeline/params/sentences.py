"""What pydantic finds wrong, as sentences: where, what, and the nearest right name."""

import re
import reprlib
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipeline.core.errors import discreet, nearest, shortened

LONGEST_NAME = 60
LONGEST = 2000
NO_NAME = ("string_pattern_mismatch", "string_unicode")
EMPTY = ("model_type", "model_attributes_type", "dict_type")


class Brief(reprlib.Repr):
    """Values in a few words, without what addresses in them keep secret."""

    def repr_str(self, x: str, level: int) -> str:
        """Return a text in quotes, shortened."""
        return f"'{shortened(discreet(x), LONGEST_NAME)}'"


def sentence(error: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    """Turn one pydantic error into `where: what, and the nearest right name`."""
    where = ".".join([prefix, *(shortened(discreet(str(part))) for part in error["loc"])]).strip(
        "."
    )

    if error["type"] == "extra_forbidden":
        name = shortened(str(error["loc"][-1]))
        return f"{where}: unknown key; {nearest(name, _keys_at(model, error['loc'][:-1]))}"
    if error["type"] in NO_NAME and error["loc"][-1:] == ("[key]",):
        return f"{where.removesuffix('.[key]')}: this is no name; use letters, digits and _"
    if error["input"] is None and error["type"] in EMPTY:
        return f"{where}: is empty; leave it out, or write {{}}"

    message = shortened(re.sub(r"^(Value error|Assertion failed), ", "", error["msg"]), LONGEST)
    advice = (
        "; put it into quotes"
        if error["type"] == "string_type" and _is_plain(error["input"])
        else ""
    )
    received = (
        "" if error["type"] in ("value_error", "missing") else f" (given: {_shown(error['input'])})"
    )

    return f"{where}: {message}{advice}{received}" if where else message


def _shown(value: Any) -> str:
    return shortened(Brief().repr(value), 2 * LONGEST_NAME)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `loc` knows."""
    current: Any = model
    for key in loc:
        if not _is_section(current):  # a mapping: its values
            current = _section_in(current)
        elif str(key) in current.model_fields:
            # or else the number of an item, or the name of a choice
            current = current.model_fields[str(key)].annotation
            if getattr(current, "__origin__", None) is not dict:
                current = _section_in(current) or current

    return list(current.model_fields) if _is_section(current) else []


def _section_in(annotation: Any) -> Any:
    """Return the first section in an annotation, or None."""
    if _is_section(annotation):
        return annotation
    sections = (_section_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((section for section in sections if section is not None), None)


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
