"""Groups whose number of workers follows what the cluster has."""

from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy

from pipeline.cluster.places import free


class FollowingNodes(ElasticScalingPolicy):
    """Ray Train's elastic policy, by the nodes as they are now and the sizes that divide a step.

    Ray's own count goes by a list that is up to 20 s old, knows nothing of other jobs, and takes
    any size.
    """

    def __init__(self, scaling_config: ScalingConfig, sizes: list[int]) -> None:
        super().__init__(scaling_config)
        self.sizes = sizes

    def _get_reserved_resources(self) -> dict[str, dict[str, float]]:
        return free(ray.get_runtime_context().get_actor_id())

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        possible = super()._count_possible_workers(reserved_resources)
        return max((size for size in self.sizes if size <= possible), default=0)


class GroupTrainer(TorchTrainer):
    """Ray Train's trainer with this module's policy, where `sizes` says that there is a choice, and
    without the process that would serve Ray's data sets.
    """

    sizes: tuple[int, ...] = ()

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        callbacks = options["callbacks"]
        options["callbacks"] = [
            each for each in callbacks if not isinstance(each, DatasetsCallback)
        ]
        if self.sizes:
            options["scaling_policy"] = FollowingNodes(self.scaling_config, list(self.sizes))
        return super()._initialize_and_run_controller(**options)
