"""Published numbers: `claims.yaml` read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.core.errors import UserError

TaskName = Literal["classify", "detect", "segment"]
Confidence = Literal["published", "recalled"]
TASKS: tuple[TaskName, ...] = ("classify", "detect", "segment")
TASK_NAMES = {"classify": "classification", "detect": "detection", "segment": "segmentation"}
CLAIMS = Path(__file__).parent / "claims.yaml"


@dataclass(frozen=True)
class Metric:
    """How a number is called, in what unit, and with how many decimals it is written."""

    label: str
    unit: str
    decimals: int


METRICS = {
    "top1": Metric("top-1", "%", 1),
    "top5": Metric("top-5", "%", 1),
    "real_top1": Metric("top-1, Real labels", "%", 1),
    "box_ap": Metric("box AP", "%", 1),
    "box_ap50": Metric("box AP50", "%", 1),
    "box_ap75": Metric("box AP75", "%", 1),
    "mask_ap": Metric("mask AP", "%", 1),
    "miou": Metric("mIoU", "%", 1),
    "miou_multiscale": Metric("mIoU, multi-scale and flipped", "%", 1),
    "parameters_m": Metric("parameters", "M", 2),
    "flops_g": Metric("multiply-adds", "G", 3),
    "images_per_second": Metric("inference", "images/s", 1),
}
COSTS = ("parameters_m", "flops_g", "images_per_second")
MetricName = Literal[
    "top1",
    "top5",
    "real_top1",
    "box_ap",
    "box_ap50",
    "box_ap75",
    "mask_ap",
    "miou",
    "miou_multiscale",
    "parameters_m",
    "flops_g",
    "images_per_second",
]


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
