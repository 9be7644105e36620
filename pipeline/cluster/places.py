"""How many workers the nodes of a cluster hold, and waiting until a group finds its place."""

import time
from typing import Any

import ray
from ray._private.state import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group

from pipeline.core.errors import UserError
from pipeline.core.progress import say
from pipeline.params import Cluster

Resources = dict[str, float]

POLL_S = 1.0
SETTLE_S = 5.0
"""How long what an earlier group gave back may take to be free."""


def worker_of(cluster: Cluster) -> Resources:
    """Return what one worker takes."""
    gpus = gpus_per_worker(cluster, ray.cluster_resources())
    return {"CPU": cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})}


def gpus_per_worker(cluster: Cluster, resources: Resources) -> float:
    """Return a worker's GPUs: as asked for, or one each where the cluster's resources allow it."""
    if cluster.gpus_per_worker != "auto":
        return cluster.gpus_per_worker
    return 1.0 if resources.get("GPU", 0) >= cluster.min_workers else 0.0


def nodes() -> dict[str, Resources]:
    """Return what each node has that lives and is not about to be taken away."""
    leaving = draining()
    return {
        node["NodeID"]: node["Resources"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in leaving
    }


def draining() -> set[str]:
    """Return the nodes that are about to be taken away."""
    return set(state.get_draining_nodes() or {})


def free(holder: str | None = None) -> dict[str, Resources]:
    """Return what is free on each node, with what the actor `holder` has reserved there."""
    available = state.available_resources_per_node()
    spare = {node: dict(available.get(node, {})) for node in nodes()}
    for group in _reserved():
        if holder is not None and group.creator_actor_id.hex() == holder:
            for bundle in group.bundles:
                node = spare.get(bundle.node_id.hex(), {})
                for kind, amount in bundle.unit_resources.items():
                    node[kind] = node.get(kind, 0.0) + amount

    return spare


def fitting(spare: dict[str, Resources], worker: Resources) -> int:
    """Return how many workers nodes hold; a worker is on one node."""
    return sum(
        min(int(node.get(kind, 0) / each + 1e-6) for kind, each in worker.items())
        for node in spare.values()
    )


def find_place(cluster: Cluster, groups: int, patience: float = 0.0) -> int:
    """Wait until there is a place for a group, and return for how many there is, at most `groups`.

    Args:
        cluster: how large a group is.
        groups: how many could work side by side.
        patience: how many seconds nodes may be missing that such a group needs.

    Raises:
        UserError: the nodes do not hold a group, whatever else they do.
    """
    began = time.monotonic()
    waits = False
    worker = worker_of(cluster)

    while True:
        waited = time.monotonic() - began
        possible = fitting(nodes(), worker)
        if possible < cluster.min_workers and waited >= patience:
            raise UserError(_lacking(cluster, worker, possible))

        most = max(1, min(groups, possible // cluster.max_workers))
        spare = fitting(free(), worker)
        if spare >= most * cluster.max_workers or (
            spare >= cluster.min_workers and waited > SETTLE_S
        ):
            return max(1, min(most, spare // cluster.max_workers))
        if waited > SETTLE_S and not waits:
            waits = True
            say(
                f"waiting for a place: {cluster.min_workers} workers of {_words(worker)} each are "
                f"needed, the Ray cluster has room for {spare} now"
            )
        time.sleep(POLL_S)


def release_dead() -> None:
    """Give back the CPUs and GPUs that a dead controller reserved: they are its job's, which goes
    on.

    Ray's own cleaner, a process for each controller, asks the dashboard, and gives nothing back
    where there is none, or another Ray on this machine.
    """
    for group in _reserved():
        made_by_an_actor = not ray.ActorID(group.creator_actor_id).is_nil()
        if made_by_an_actor and group.creator_actor_dead:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _reserved() -> list[Any]:
    """Return the placement groups of this job."""
    job = ray.get_runtime_context().get_job_id()
    rows = state._connect_and_get_accessor().get_placement_group_table()
    groups = [PlacementGroupTableData.FromString(row) for row in rows]
    removed = PlacementGroupTableData.REMOVED
    return [g for g in groups if g.creator_job_id.hex() == job and g.state != removed]


def _words(worker: Resources) -> str:
    return " and ".join(f"{each:g} {kind}" for kind, each in worker.items())


def _lacking(cluster: Cluster, worker: Resources, possible: int) -> str:
    resources = ray.cluster_resources()
    for kind, each in worker.items():
        if each * cluster.min_workers > resources.get(kind, 0):
            return (
                f"{cluster.min_workers} workers need {each * cluster.min_workers:g} {kind}, "
                f"the Ray cluster has {resources.get(kind, 0):g}; lower cluster.workers or "
                f"cluster.{kind.lower()}s_per_worker"
            )

    return (
        f"{cluster.min_workers} workers of {_words(worker)} each are needed, the nodes of the Ray "
        f"cluster hold {possible}; lower cluster.workers or what a worker takes"
    )
