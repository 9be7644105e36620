"""Types of fields that several published files have, and what their data were."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, ValidatorFunctionWrapHandler, WrapValidator

from pipeline.core.records import Count, Record

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Size = Literal["micro", "tiny", "small", "base"]
Positive = Annotated[int, Field(gt=0)]
Number = Annotated[FiniteFloat, WrapValidator(lambda value, check: _as_it_came(value, check))]
"""A number that is written as it came: whole, or with a point."""
MetricValues = dict[str, Number | None]
"""An evaluation's numbers by name; None where one is not defined."""


def _as_it_came(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    number = check(value)
    return value if type(value) is int else number


def _with_a_width(overrides: dict[str, Any]) -> dict[str, Any]:
    width = overrides.get("embed_dim")
    if width is not None and (type(width) is not int or width <= 0):
        raise ValueError(f"embed_dim should be a whole number above 0, got {width!r}")
    return overrides


Overrides = Annotated[dict[str, Any], AfterValidator(_with_a_width)]
"""What differs from a named network; its width is one that a network can have."""


class DataFacts(Record):
    """What a run was trained and judged on."""

    dataset: str
    source: str
    manifest: str
    train_samples: Positive
    val_samples: Count
    classes: Count
    evaluated_on: Literal["val", "train", "held_out"] = "val"

    @property
    def synthetic(self) -> bool:
        """Whether the images were generated."""
        return self.source == "synthetic"
