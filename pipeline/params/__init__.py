"""The pydantic models of params.yaml: every key, its range, and what must agree with what.

`load` validates the whole file at once; all errors are reported together, and an unknown key is
answered with the nearest right name.
"""

from pipeline.params.data import Dataset, RemoteFile, Synthetic
from pipeline.params.folders import DATASETS
from pipeline.params.recipes import (
    Augment,
    BaseRecipe,
    DetectRecipe,
    Duration,
    Optimizer,
    Precision,
    Recipe,
    Schedule,
    SegmentRecipe,
)
from pipeline.params.searches import Factorial, Trials, Tune
from pipeline.params.sections import Cluster, Compare, Shard, Tracking
from pipeline.params.tasks import TASKS, Classify, Detect, Segment, Task
from pipeline.params.variants import MIXER_FIELDS, Variant, mixer_options
from pipeline.params.whole import Params, load

__all__ = [
    "DATASETS",
    "MIXER_FIELDS",
    "TASKS",
    "Augment",
    "BaseRecipe",
    "Classify",
    "Cluster",
    "Compare",
    "Dataset",
    "Detect",
    "DetectRecipe",
    "Duration",
    "Factorial",
    "Optimizer",
    "Params",
    "Precision",
    "Recipe",
    "RemoteFile",
    "Schedule",
    "Segment",
    "SegmentRecipe",
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
