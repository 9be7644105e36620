"""Asking a group of workers to leave its runs where they are, with a checkpoint.

The request stands in the cluster's own store, where any process of the cluster can put it, and rank
0 looks for it. The group leaves before its next step. Who asks: the driver, when it is to end; the
controller, before it makes the group larger or smaller, and when a node is about to be taken away.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental import internal_kv
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import ResizingState

from pipeline.cluster.places import draining

SPACE = "pipeline.leaving"
POLL_S = 0.5
DRAIN_POLL_S = 2.0
LEAVE_S = 60.0
"""How long a controller waits for its group to leave."""


def ask(group: str, lasting: bool = True) -> None:
    """Ask a group to leave; what is not `lasting` can be withdrawn."""
    internal_kv._internal_kv_put(group, b"lasting" if lasting else b"", lasting, namespace=SPACE)


def asked(group: str) -> bool:
    """Return whether a group was asked to leave."""
    return bool(internal_kv._internal_kv_exists(group, namespace=SPACE))


def withdraw(group: str) -> None:
    """Take a request back, unless it is to last."""
    if not internal_kv._internal_kv_get(group, namespace=SPACE):
        internal_kv._internal_kv_del(group, namespace=SPACE)


def end(group: str) -> None:
    """End a group's controller at once, and with it its workers; whoever waits for it hears."""
    if identifier := internal_kv._internal_kv_get(_controller(group), namespace=SPACE):
        controller = ray.ActorID(bytes.fromhex(identifier.decode()))
        ray._private.worker.global_worker.core_worker.kill_actor(controller, True)


def _controller(group: str) -> str:
    return f"{group}.controller"


class LeaveRequest:
    """Rank 0's ear: says, without waiting, whether the group was asked to leave."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._heard = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def __call__(self) -> bool:
        """Return whether the group was asked."""
        return self._heard.is_set()

    def _listen(self) -> None:
        while not asked(self._group):
            time.sleep(POLL_S)
        self._heard.set()


@dataclass
class Leaving(ControllerCallback, WorkerGroupCallback):
    """Asks the group, in its controller's process, before its size or its nodes change."""

    group: str
    _workers: Any = None
    _looked: float = 0.0

    def after_controller_start(self, train_run_context: Any) -> None:
        """Tell the driver whom to end where it cannot wait."""
        actor = ray.get_runtime_context().get_actor_id()
        internal_kv._internal_kv_put(_controller(self.group), actor, namespace=SPACE)

    def after_worker_group_training_start(self, worker_group: Any) -> None:
        """Remember whom to ask."""
        self._workers = worker_group

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Let a group that is about to get another size leave its run with a checkpoint first."""
        if not isinstance(current_state, ResizingState):
            return

        ask(self.group, lasting=False)
        deadline = time.monotonic() + LEAVE_S
        while time.monotonic() < deadline:
            status = self._workers.poll_status(timeout=POLL_S)
            if status.finished or status.errors:
                break
            time.sleep(POLL_S)

        withdraw(self.group)

    def after_worker_group_poll_status(self, status: Any) -> None:
        """Let a group leave that has a worker on a node that is about to be taken away."""
        if time.monotonic() - self._looked < DRAIN_POLL_S:
            return
        self._looked = time.monotonic()
        leaving = draining()
        if any(worker.metadata.node_id in leaving for worker in self._workers.get_workers()):
            ask(self.group, lasting=False)
