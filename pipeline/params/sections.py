"""The small sections of params.yaml: sharding, profiling, comparing, the cluster, tracking."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.params.section import Positive, Section

PROTOCOLS = ("http://", "https://", "s3://", "gs://", "file://")


class Shard(Section):
    """How raw files become tar shards. `short_side: null` keeps the original bytes untouched."""

    samples_per_shard: Positive = 1000
    short_side: Annotated[int, Field(ge=8)] | None = None
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    max_quarantined: Annotated[int, Field(ge=0)] = 0
    max_pixels: Positive = 50_000_000


class Profile(Section):
    """Timing protocol: the authors' 50 warm-up and 30 timed batches for inference."""

    batch_size: Positive = 64
    warmup: Annotated[int, Field(ge=0)] = 50
    timed: Positive = 30
    train_warmup: Annotated[int, Field(ge=0)] = 3
    train_timed: Positive = 10


class Compare(Section):
    """Tolerances, in points of each metric, within which a published number counts as reproduced."""

    tolerance: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {"top1": 0.3, "box_ap": 0.4, "mask_ap": 0.4, "miou": 0.5}
    )
    within_noise: Annotated[float, Field(ge=1)] = 2.0


class Cluster(Section):
    """Where and how runs execute; nothing here changes a result.

    `shards` is a URL or path under which each data set's folder lies as the shard stage wrote it (null: the local
    folder); what is read from there is kept in the folder `cache` of each node, up to `cache_gb` (10^9 bytes).
    `allow_open` joins a Ray cluster that asks for no token: whoever reaches its ports can run code in it.
    """

    workers: Positive = 2
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    loader_workers: Annotated[int, Field(ge=0)] = 0
    storage: str = "runs"
    max_failures: Annotated[int, Field(ge=0)] = 3
    together: bool = False
    shards: str | None = None
    cache: str | None = None
    cache_gb: Annotated[float, Field(gt=0)] = 200.0
    allow_open: bool = False

    @field_validator("shards")
    @classmethod
    def address(cls, url: str | None) -> str | None:
        """Check that shards come from a protocol that is meant, or from a folder named in full."""
        if url is not None and (not url.startswith((*PROTOCOLS, "/")) or "?" in url or "::" in url):
            raise ValueError(f"give a URL that starts with {', '.join(PROTOCOLS)}, or an absolute path")
        return url.rstrip("/") if url else url


class Tracking(Section):
    """MLflow: null means SQLite in the project; the variable MLFLOW_TRACKING_URI wins over both."""

    uri: str | None = None
