"""YAML as DVC reads it, so that dvc.yaml and the stages see the same params.yaml: ruamel.yaml's
rules, YAML 1.2.

A file is looked through before anything is made of it: aliases can stand for more values than
memory holds.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.core.errors import UserError, discreet, shortened

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

MOST_BYTES = 1_000_000
MOST_VALUES = 10_000
LETTERS = 1000
"""How many values a file may hold, every alias counted as what it stands for, and as many letters
as one value.
"""
DEEPEST = 50
LARGEST = 2**63 - 1
ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\0\0": "UTF-32"}


def read_tree(path: Path) -> dict[str, Any]:
    """Return the mapping that a params file holds; an empty file is an empty one.

    Raises:
        UserError: the file cannot be read, is not UTF-8, not YAML, or holds what no parameter can
            be.
    """
    tree = parse(_text(path), str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        content = (
            "a list" if isinstance(tree, list) else f"the value {shortened(discreet(repr(tree)))}"
        )
        raise UserError(
            f"{path} holds {content}, not sections; begin it with the name of one, e.g. `classify:`"
        )
    return tree


def parse(text: str, where: str) -> Any:
    """Return what a YAML text holds: mappings with names for keys, lists, text, numbers, booleans
    and null.

    Raises:
        UserError: beginning with `where`, and the line or the key.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        _look_through(text, where)
        tree = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise UserError(f"{where}{_line(error)} is not YAML: {_problem(error)}") from None
    except (ValueError, OverflowError, TypeError) as error:
        raise UserError(
            f"{where} is not YAML: {_unreadable(text)}: {shortened(str(error), 120)}"
        ) from None

    _refuse_odd(tree, where, ())
    return tree


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}; run from the project's folder or pass --params"
        ) from None

    if len(data) > MOST_BYTES:
        raise UserError(
            f"{path} is larger than {MOST_BYTES / 1e6:g} MB, so it is no file of parameters; "
            "pass --params"
        )

    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        what = ENCODINGS.get(data[:2], f"not UTF-8 (line {line})")
        raise UserError(f"{path} is {what}; save it as UTF-8 text") from None


@dataclass
class _Open:
    """A collection that is being read: its anchor, and how many values it holds so far."""

    anchor: str | None
    values: int = 1


def _look_through(text: str, where: str) -> None:
    """Refuse what nests too deeply or comes to too many values, by the parser's events alone."""
    from ruamel.yaml import YAML, events

    sizes: dict[str, int] = {}
    top = _Open(None, 0)
    stack = [top]
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, events.CollectionStartEvent):
            stack.append(_Open(event.anchor))
            if len(stack) > DEEPEST:
                _refuse(event, where, f"nests deeper than {DEEPEST} levels; write it flatter")
        elif isinstance(event, events.CollectionEndEvent):
            closed = stack.pop()
            _count(closed.anchor, closed.values, stack, sizes)
        elif isinstance(event, events.ScalarEvent):
            _count(event.anchor, 1 + len(event.value) // LETTERS, stack, sizes)
        elif isinstance(event, events.AliasEvent):
            if any(container.anchor == event.anchor for container in stack):
                _refuse(
                    event,
                    where,
                    f"*{event.anchor} stands within itself; write out what it should be",
                )
            _count(None, sizes.get(event.anchor, 1), stack, sizes)

        if stack[-1].values > MOST_VALUES:
            _refuse(
                event, where, f"aliases (*name) make more than {MOST_VALUES:,} values; write fewer"
            )


def _count(anchor: str | None, values: int, stack: list[_Open], sizes: dict[str, int]) -> None:
    """Count a finished value to what holds it, and remember it under its anchor."""
    stack[-1].values += values
    if anchor is not None:
        sizes[anchor] = values


def _refuse(event: "Event", where: str, why: str) -> NoReturn:
    raise UserError(f"{where}, line {event.start_mark.line + 1}: {why}")


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1},"


def _problem(error: Exception) -> str:
    """Return a parser's complaint on one line."""
    problem = str(getattr(error, "problem", None) or error)
    if key := re.match(r'found duplicate key "(.*?)" with value', problem, re.DOTALL):
        return f"the key {shortened(discreet(key[1]))!r} stands there twice; keep one"
    return shortened(" ".join(problem.split()), 200)


def _unreadable(text: str) -> str:
    """Return which line holds a value that looks like a number or a date and is none."""
    from ruamel.yaml import YAML, events

    for event in YAML(typ="safe").parse(text):
        if isinstance(event, events.ScalarEvent) and event.implicit[0]:
            try:
                YAML(typ="safe").load(event.value)
            except Exception:
                return f"line {event.start_mark.line + 1}, {shortened(discreet(event.value))!r}"

    return "a value in it"


def _refuse_odd(value: Any, where: str, keys: tuple[str, ...]) -> None:
    """Refuse what YAML can say and JSON cannot, and numbers that no computation can use."""
    place = f"{where}: {'.'.join(shortened(discreet(key)) for key in keys)}" if keys else where
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                readable_key = shortened(discreet(repr(key)))
                raise UserError(f"{place}: the key {readable_key} is no text; put it into quotes")
            _refuse_odd(child, where, (*keys, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _refuse_odd(child, where, (*keys, str(index)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(
            f"{place} is {value}, which is no number to compute with; write a finite one"
        )
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{place} is larger than {LARGEST:.1e}; write a smaller number")
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise UserError(
            f"{place} is read as a {type(value).__name__}; put it into quotes if it is text"
        )
