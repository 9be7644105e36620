"""Groups of workers of a fixed number, or of one that follows what the cluster has; without the
processes of Ray Train that nothing here needs.
"""

from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    FixedScalingPolicy,
)

from pipeline.cluster.places import free

NEEDLESS = (DatasetsCallback, PlacementGroupCleanerCallback)
"""Callbacks of Ray Train that start a process each: one serves Ray's data sets, the other gives
back what a dead controller reserved, which `places.release_dead` does.
"""


class Placed(FixedScalingPolicy):
    """Ray Train's policy of a fixed number, for workers whose place was found before.

    Ray's own has a process for its wishes to the autoscaler, and waits for its start.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Wish for nothing."""

    def _maybe_send_resource_request(self) -> None:
        pass


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
    """Ray Train's trainer with this module's policies: `sizes` says where there is a choice."""

    sizes: tuple[int, ...] = ()

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        callbacks = options["callbacks"]
        options["callbacks"] = [each for each in callbacks if not isinstance(each, NEEDLESS)]
        options["scaling_policy"] = (
            FollowingNodes(self.scaling_config, list(self.sizes))
            if self.sizes
            else Placed(self.scaling_config)
        )
        return super()._initialize_and_run_controller(**options)
