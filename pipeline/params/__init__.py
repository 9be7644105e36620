"""The pydantic models of params.yaml: every key, its range, and what must agree with what.

`load` validates the whole file at once; all errors are reported together, and an unknown key is
answered with the nearest right name.
"""

from pipeline.params.data import Dataset, RemoteFile, Synthetic
from pipeline.params.folders import DATASETS, TASKS
from pipeline.params.recipes import (
    BaseRecipe,
    Duration,
    Optimizer,
    Precision,
    Schedule,
)
from pipeline.params.searches import Factorial, Trials, Tune
from pipeline.params.sections import Cluster, Compare, Gpu, Planning, Shard, Tracking
from pipeline.params.tasks import Task
from pipeline.params.variants import MIXER_FIELDS, Variant, mixer_options
from pipeline.params.whole import Params, load

__all__ = [
    "DATASETS",
    "MIXER_FIELDS",
    "TASKS",
    "BaseRecipe",
    "Cluster",
    "Compare",
    "Dataset",
    "Duration",
    "Factorial",
    "Gpu",
    "Optimizer",
    "Params",
    "Planning",
    "Precision",
    "RemoteFile",
    "Schedule",
    "Shard",
    "Synthetic",
    "Task",
    "Tracking",
    "Trials",
    "Tune",
    "Variant",
    "load",
    "mixer_options",
]
