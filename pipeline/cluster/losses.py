"""Ranks that are lost while a group trains: found, named to whoever follows the run, replaced.

Ray Train asks every worker how it is, a few times a second, in another thread than the one that
trains: a rank that computes, evaluates, compiles or waits for another one answers. One that is
stopped does not, nor does one in a call that lets no other thread run. So where a rank has answered
nothing for a while, somebody on its node looks whether it computes: if not, it is ended, and Ray
Train starts its group again. A node that is gone without a word is Ray's to find out.
"""

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.util import time_monotonic
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.processes import end_if_idle
from pipeline.core.errors import shortened
from pipeline.runs.run import Run

SILENT_S = 15.0
"""How long a rank may answer nothing before somebody looks at it."""


@dataclass
class Losses(WorkerGroupCallback):
    """Finds and names lost ranks, in the controller's process."""

    runs: list[Run]
    _group: Any = None
    _looks: dict[int, Any] = field(default_factory=dict)

    def after_worker_group_training_start(self, worker_group: Any) -> None:
        """Begin to watch a group."""
        self._group = worker_group
        self._looks = {}

    def after_worker_group_poll_status(self, status: Any) -> None:
        """Have silent ranks looked at, and name those that a group ends for."""
        for rank, poll in self._group._world_rank_to_ongoing_poll.items():
            if time_monotonic() - poll.start_time > SILENT_S:
                self._look(rank)
        for rank, error in status.errors.items():
            self._name(rank, error)

    def _look(self, rank: int) -> None:
        """Have a silent rank looked at by its node, again and again while it computes."""
        look = self._looks.get(rank)
        if look is None or self._computes(look):
            place = self._group.get_workers()[rank].metadata
            here = NodeAffinitySchedulingStrategy(place.node_id, soft=False)
            task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(end_if_idle)
            self._looks[rank] = task.remote(place.pid)

    def _computes(self, look: Any) -> bool:
        try:
            return bool(ray.wait([look], timeout=0)[0]) and not ray.get(look)
        except RayError:  # its node is gone, which Ray finds out
            return False

    def _name(self, rank: int, error: BaseException) -> None:
        node = self._group.get_workers()[rank].metadata.node_ip
        run = next((run for run in self.runs if run.finished() is None), self.runs[-1])

        if not died(error):
            what = f"failed ({shortened(last_line(error).partition('. ')[0], 160)})"
        elif rank in self._looks:
            what = f"computed and answered nothing for {SILENT_S:.0f} s"
        else:
            what = "died"

        run.announce(f"rank {rank} on node {node} {what}; its group of ranks is ended")


def last_line(error: BaseException) -> str:
    """Return the last line of an error's text, where the libraries say what it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def died(error: BaseException) -> bool:
    """Return whether a worker's process, or its node, is gone."""
    return isinstance(error, WorkerHealthCheckFailedError) and isinstance(
        error.health_check_failure, RayActorError
    )
