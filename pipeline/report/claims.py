"""Published numbers: `claims.yaml` read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.core.errors import UserError
from pipeline.params.folders import TASKS, TaskName
from pipeline.params.registry import Metric, metrics, tasks

__all__ = [
    "CLAIMS",
    "COSTS",
    "METRICS",
    "TASKS",
    "TASK_NAMES",
    "Claim",
    "TaskName",
    "load_claims",
]

Confidence = Literal["published", "recalled"]
TASK_NAMES = {name: about.label for name, about in tasks().items()}
CLAIMS = Path(__file__).parent / "claims.yaml"


COST_METRICS = {
    "parameters_m": Metric("parameters", "M", 2),
    "macs_g": Metric("MACs", "G", 3),
    "images_per_second": Metric("inference", "images/s", 1),
}
METRICS = {**metrics(), **COST_METRICS}
COSTS = tuple(COST_METRICS)
if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[tuple(METRICS)]


class ClaimRow(BaseModel):
    """One row of a published table, as `claims.yaml` holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    table: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    mixer: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] | None = None
    size: Literal["tiny", "small", "base"] | None = None
    timm_name: str | None = None
    overrides: dict[str, Any] = {}
    image_size: Annotated[int, Field(gt=0)] = 224
    task: TaskName
    values: Annotated[dict[MetricName, Annotated[int | float, Field(gt=0)]], Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    confidence: Confidence
    notes: str = ""


@dataclass(frozen=True)
class Claim:
    """One published number."""

    id: str
    metric: str
    value: float
    row: ClaimRow

    @property
    def unit(self) -> str:
        """The unit of the value."""
        return METRICS[self.metric].unit

    @property
    def published(self) -> bool:
        """Whether the number was read at its source; only such a number can be reproduced."""
        return self.row.confidence == "published"


def load_claims(path: Path = CLAIMS) -> list[Claim]:
    """Read the claims in the order of the file.

    Raises:
        UserError: the file does not fit the model, or an id stands in it twice.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} cannot be read as YAML: {str(error).replace(chr(10), ' ')}"
        ) from None

    try:
        rows = TypeAdapter(list[ClaimRow]).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} does not fit at {where or 'its top'} ({error.error_count()} errors): "
            f"{first['msg']}"
        ) from None

    _refuse_twice(path, rows)
    return [
        Claim(f"{row.id}.{metric}", metric, float(value), row)
        for row in rows
        for metric, value in row.values.items()
    ]


def _refuse_twice(path: Path, rows: list[ClaimRow]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise UserError(f"{path} has the id '{row.id}' twice; give each row an id of its own")
        seen.add(row.id)
