"""The small sections of params.yaml: sharding, profiling, planning, comparing, the cluster,
tracking.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.params.folders import TASKS
from pipeline.params.registry import metrics
from pipeline.params.section import Name, Positive, Section

PROTOCOLS = ("http://", "https://", "s3://", "gs://", "file://")
Gpu = Literal["V100", "A100", "H100", "H200"]
StageName = Annotated[str, Field(pattern=rf"^({'|'.join(TASKS)})@[A-Za-z0-9_]+$")]
STORES = ("s3://", "gs://")
"""Where runs may be kept beside a folder: objects are written there, some only once."""


class Shard(Section):
    """How raw files become tar shards. `short_side: null` keeps the original bytes untouched.

    `max_quarantined` files may be unusable; `max_dropped_annotations` is the fraction of a split's
    annotations that faults may keep from training or from having a mask.
    """

    samples_per_shard: Positive = 1000
    """Samples of one tar."""
    short_side: Annotated[int, Field(ge=8)] | None = None
    """Shrink images to this short side, pixels; null: keep the bytes."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    """Quality of images that are written anew, percent."""
    max_quarantined: Annotated[int, Field(ge=0)] = 0
    """Files that may be unusable before the stage fails."""
    max_dropped_annotations: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Fraction of a split's annotations that faults may keep out."""
    max_pixels: Positive = 50_000_000
    """Largest image that is decoded, pixels."""


class Profile(Section):
    """Timing protocol of inference and of training: the authors' 50 warm-up and 30 timed
    batches.
    """

    batch_size: Positive = 64
    """Images a batch."""
    warmup: Annotated[int, Field(ge=0)] = 50
    """Batches before the clock starts."""
    timed: Positive = 30
    """Batches that are timed."""


class Planning(Section):
    """What a plan reckons with, where nothing was measured and nothing was paid yet; nothing here
    changes a result.
    """

    gpu: Gpu = "A100"
    """Whose round figures price a network on GPUs that nobody measured."""
    price_per_gpu_hour: Annotated[float, Field(ge=0)] | None = None
    """Money an hour of one GPU, in any currency; null: no money is reckoned."""


class Compare(Section):
    """The report. `tolerance` are points of each metric within which a published number counts as
    reproduced. `primary` names the contrasts that a study was made for, e.g. `locality:
    [classify@dwnet, classify@dwnet_k1]`; write them down before its runs. A report to be passed on
    goes without `samples`, the images of data sets that may not be, and without `links` to MLflow.
    """

    tolerance: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {
            name: metric.tolerance
            for name, metric in metrics().items()
            if metric.tolerance is not None
        }
    )
    """By metric, in its points: how far from published counts as reproduced."""
    least_seeds: Annotated[int, Field(ge=3)] = 3
    """Seeds below which no trained number counts as reproduced."""
    primary: dict[Name, tuple[StageName, StageName]] = Field(default_factory=dict)
    """By name: two trained stages, left minus right; adjusted together for being several."""
    samples: bool = True
    """Show what networks saw in images of the data sets."""
    links: bool = True
    """Link runs to MLflow's pages; without, runs are named by their ids, for readers elsewhere."""


class Cluster(Section):
    """Where and how runs execute; nothing here changes a result.

    `workers` train one run together; `[least, most]` lets a group start with what the cluster has,
    go on with fewer where a node is lost, and grow where one is added. With `together`, a stage
    trains the other variants of its task too, as many at once as the cluster holds.
    `shards` is a URL or path under which each data set's folder lies as the shard stage wrote it
    (null: the local folder); what is read from there is kept in the folder `cache` of each node, up
    to `cache_gb` (10^9 bytes). `storage` is a folder that all machines see, or an address in a
    store of objects (s3://, gs://). `allow_open` joins a Ray cluster that asks for no token:
    whoever reaches its ports can run code in it.
    `python` is how a submitted job's processes start Python there, e.g. a path in a shared folder
    or `uv run --with-requirements requirements.lock python` (null: this environment where the head
    sees it, else the head's own).
    """

    workers: Positive | tuple[Positive, Positive] = 2
    """Processes that train one run together; [least, most] lets their number change."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPU cores of a worker."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs of a worker; auto: one where there are some."""
    loader_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode ahead of a worker."""
    storage: str = "runs"
    """Where runs are kept: a folder that all machines see, or s3:// or gs://."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Times that lost workers are started again."""
    together: bool = False
    """Let a stage train its task's other variants too, side by side."""
    shards: str | None = None
    """URL or path with each data set's folder of shards; null: the local folder."""
    cache: str | None = None
    """Folder of each node for shards read by URL."""
    cache_gb: Annotated[float, Field(gt=0)] = 200.0
    """Most that the cache holds, 10^9 bytes."""
    allow_open: bool = False
    """Join a Ray cluster that asks for no token, where whoever reaches it runs code."""
    python: str | None = None
    """How a submitted job starts Python there; null: this environment, or the head's own."""

    @property
    def min_workers(self) -> int:
        """Return how many workers a group has at least."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def max_workers(self) -> int:
        """Return how many workers a group has at most."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @field_validator("workers")
    @classmethod
    def in_order(cls, workers: int | tuple[int, int]) -> int | tuple[int, int]:
        """Check that a pair begins with its smaller number."""
        if not isinstance(workers, int) and workers[0] > workers[1]:
            raise ValueError(f"[least, most] are {list(workers)}; write the smaller number first")
        return workers

    @field_validator("storage")
    @classmethod
    def folder(cls, path: str) -> str:
        """Check that runs are kept in a folder or a store, without repeating in messages what an
        address may keep secret.
        """
        if not path.strip() or "\0" in path or ("://" in path and not path.startswith(STORES)):
            raise ValueError(
                "storage is a folder that all machines see, or an address that starts with "
                f"{' or '.join(STORES)}"
            )
        if "://" not in path:
            return path
        if not path.partition("://")[2].strip("/") or not path.isprintable() or "::" in path:
            raise ValueError("storage is an address without a bucket, e.g. s3://bucket/runs")
        return _without_secrets("storage", path, "the environment")

    @field_validator("shards")
    @classmethod
    def address(cls, url: str | None) -> str | None:
        """Check that shards come from a protocol that is meant, or from a folder named in full.

        What an address keeps secret would be written into every result and message, so it is
        refused.
        """
        if url is None:
            return None
        if (
            not url.startswith((*PROTOCOLS, "/"))
            or "::" in url
            or not url.isprintable()
            or "\\" in url
        ):
            raise ValueError(
                f"give a URL that starts with {', '.join(PROTOCOLS)}, or an absolute path"
            )
        return url.rstrip("/") or url if url.startswith("/") else _without_secrets("shards", url)


def _without_secrets(name: str, url: str, instead: str = "~/.netrc") -> str:
    """Return an address that may be published with every result, without a slash at its end."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(
            f"{name} holds a user's name, which would be published with it; put it into {instead}"
        )

    if set("?#") & set(url):
        raise ValueError(
            f"{name} holds a query or fragment, which may be a secret; give the address without it"
        )
    return url.rstrip("/")


class Tracking(Section):
    """MLflow: null means SQLite in the project; the variable MLFLOW_TRACKING_URI wins over both.

    With `required: false` a command goes on where MLflow does not answer. Whatever MLflow missed is
    kept beside the runs, and recorded by the next command that finds it answering.
    """

    uri: str | None = None
    """MLflow's server or database; null: SQLite in the project."""
    required: bool = True
    """Stop where MLflow does not answer; false: go on, and record it later."""
