"""What a variant publishes of its speed and cost: profile.json."""

from typing import Annotated

from pydantic import Field, FiniteFloat

from pipeline.core.records import Count, Record, Rounded
from pipeline.runs.results.fields import Number, Overrides, Positive, Size


class ProfileFile(Record):
    """`results/profile/<variant>/profile.json`.

    Parameters and MACs are those with `classes` classes, the paper's 1,000; `metrics.json` has
    those with the classes of the data. Speeds have the quartiles over the timed batches; `boot`
    names the machine since it started, `measured` is the time in seconds since 1970: both tell
    sessions apart.
    """

    variant: str
    mixer: str
    size: Size | None
    model: str
    overrides: Overrides
    parameters: Count
    macs: Annotated[Number, Field(gt=0)]
    macs_rule: str
    classes: Count = 1000
    image_size: Positive
    batch_size: Positive
    device: str
    threads: Positive
    precision: str
    layout: str
    inference_images_per_second: Rounded
    train_images_per_second: Rounded
    inference_quartiles: list[Rounded] | None = None
    train_quartiles: list[Rounded] | None = None
    inference_macs_per_second: Number | None = None
    load_average: FiniteFloat | None = None
    peak_memory_mb: FiniteFloat | None = None
    warmup: Count
    timed: Positive
    torch: str | None = None
    boot: str | None = None
    measured: Count | None = None
    doubts: list[str] = Field(default_factory=list)
