"""What every section of params.yaml is made of."""

from functools import cache
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A mapping of params.yaml: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where only numbers stand: Python would take them for 1 and 0."""
        field = cls.model_fields[info.field_name or ""]
        if _has_boolean(value) and not _may_hold_boolean(cast(Any, field.annotation)):
            raise ValueError("true and false are no numbers; write the number")
        return value


def _has_boolean(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_boolean, value.values()))
    return (
        any(map(_has_boolean, value))
        if isinstance(value, (list, tuple))
        else isinstance(value, bool)
    )


@cache
def _may_hold_boolean(annotation: Any) -> bool:
    """Return whether a type has booleans, or parts that are checked by themselves."""
    if annotation in (Any, bool) or isinstance(annotation, (bool, type(None))):
        return annotation is not None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(map(_may_hold_boolean, getattr(annotation, "__args__", ())))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; a duration is replaced whole, since its two units exclude each
    other.
    """
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        nested = (
            isinstance(old, dict)
            and isinstance(value, dict)
            and not {"epochs", "steps"} & value.keys()
        )
        result[key] = merged(old, value) if nested and old is not None else value

    return result
