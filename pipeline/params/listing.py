"""Every parameter by the key that `--set` takes, as the models themselves say it."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.params.overrides import is_section, kinds_of
from pipeline.params.whole import Params

ANY_NAME = "NAME"
INDENT = "    "
BOUNDS = {
    "exclusiveMinimum": ">",
    "minimum": ">=",
    "exclusiveMaximum": "<",
    "maximum": "<=",
}
TYPES = {"integer": "whole number", "number": "number", "string": "text", "null": "null"}


TOP = """# Every parameter

Keys of `params.yaml` as `--set` takes them, with what holds where nothing is said. `NAME` stands
for a name of yours; a variant's keys stand under its name, as in
`classify.variants.dwnet_micro.kernel_size`. The page is made of the models by
`python -m pipeline.params --markdown docs/parameters-reference.md`, and a test says when it is old.
[How parameters are read](parameters.md) explains the values.
"""


@dataclass(frozen=True)
class Parameter:
    """A parameter: its key (`NAME` stands for any name), default, what it may be, its meaning."""

    key: str
    default: str
    choices: str
    meaning: str

    def matches(self, word: str) -> bool:
        """Return whether a word is in the key or in the meaning, large or small."""
        return word.lower() in f"{self.key}\n{self.meaning}".lower()

    def text(self, columns: int) -> str:
        """Return its lines: key and default, then what it means and what it may be."""
        first = f"{self.key} = {self.default}" if self.default else self.key
        second = f"{self.meaning} ({self.choices})"
        wrapped = textwrap.wrap(first, columns, subsequent_indent=2 * INDENT)
        wrapped += textwrap.wrap(second, columns, initial_indent=INDENT, subsequent_indent=INDENT)
        return "\n".join(wrapped)

    def row(self) -> str:
        """Return it as a row of a table in Markdown."""
        cells = [f"`{self.key}`", f"`{self.default}`" if self.default else "", self.choices]
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in [*cells, self.meaning]) + " |"


def page(listed: list[Parameter]) -> str:
    """Return parameters as a page of Markdown, a table for each section of params.yaml."""
    lines = [TOP]
    for section, members in groupby(listed, lambda parameter: parameter.key.partition(".")[0]):
        lines += [f"## `{section}`", ""]
        lines += ["| key | default | may be | meaning |", "|---|---|---|---|"]
        lines += [parameter.row() for parameter in members]
        lines.append("")
    return "\n".join(lines)


def parameters() -> list[Parameter]:
    """Return every parameter, in the order of the models."""
    return list(_of(Params, Params(), "", ""))


def _of(model: type[BaseModel], values: Any, prefix: str, above: str) -> Iterator[Parameter]:
    """Yield the parameters of a section.

    Args:
        model: the section.
        values: an instance that holds the defaults; None where there is none.
        prefix: what its keys begin with.
        above: what the section itself means, where its parameters alone do not say it.
    """
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        meaning = _joined(above, _meaning(model, name))
        value = getattr(values, name, field.get_default(call_default_factory=False))

        kinds = kinds_of(field.annotation)
        sections = [kind for kind in kinds if is_section(kind)]

        if len(kinds) > len(sections):
            choices = _words(schema["properties"][name], schema.get("$defs", {}))
            yield Parameter(key, _shown(value), choices, meaning)
        for section in sections:
            defaults = value if isinstance(value, section) else None
            yield from _of(section, defaults, f"{key}.", meaning)
        for kind in kinds:
            if get_origin(kind) is dict:
                for section in filter(is_section, kinds_of(get_args(kind)[1])):
                    yield from _of(section, None, f"{key}.{ANY_NAME}.", "")


def _meaning(model: type[BaseModel], name: str) -> str:
    """Return what a field says of itself, or of the field whose default it changes."""
    sections = [base for base in model.__mro__ if issubclass(base, BaseModel)]
    fields = [base.model_fields[name] for base in sections if name in base.model_fields]
    return next((field.description for field in fields if field.description), "")


def _joined(above: str, meaning: str) -> str:
    if not above or not meaning:
        return above or meaning
    return f"{above.rstrip('.')}: {meaning[0].lower()}{meaning[1:]}"


def _shown(value: Any) -> str:
    """Return a default as `--set` takes it; empty where a value must be given."""
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    return value if isinstance(value, str) else json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True)


def _words(schema: dict[str, Any], sections: dict[str, Any]) -> str:
    """Return in words what a value may be, of the schema that pydantic makes of its type."""
    if "$ref" in schema:
        fields = sections[schema["$ref"].rpartition("/")[2]]["properties"]
        return f"{{{', '.join(fields)}}}" if len(fields) < 5 else "{...}"
    if parts := schema.get("anyOf", schema.get("oneOf")):
        return " | ".join(dict.fromkeys(_words(part, sections) for part in parts))
    if "enum" in schema or "const" in schema:
        return " | ".join(map(_shown, schema.get("enum", [schema.get("const")])))

    json_type = schema.get("type")
    if json_type == "boolean":
        return "true | false"
    if json_type == "array":
        return _list(schema, sections)
    if json_type == "object":
        names = " | ".join(schema.get("propertyNames", {}).get("enum", [ANY_NAME]))
        return f"{{{names}: {_words(_values_of(schema), sections)}}}"

    bounds = [f"{sign} {schema[name]:g}" for name, sign in BOUNDS.items() if name in schema]
    return " ".join([TYPES.get(json_type or "", "anything"), " and ".join(bounds)]).rstrip()


def _values_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a mapping's values; names are a pattern where not any text is one."""
    patterns = schema.get("patternProperties", {})
    values = next(iter(patterns.values()), schema.get("additionalProperties"))
    return values if isinstance(values, dict) else {}


def _list(schema: dict[str, Any], sections: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(_words(item, sections) for item in schema['prefixItems'])}]"
    return f"[{_words(schema.get('items', {}), sections)}, ...]"
