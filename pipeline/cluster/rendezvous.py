"""How a worker group's processes find each other: by a file where all are on one machine.

PyTorch's own way (`TCPStore`) listens on every interface without a token, and asks the name service
what the address of each rank is called.
"""

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend


@dataclass
class Rendezvous(TorchConfig):
    """Ray Train's configuration of PyTorch's process group, with this module's rendezvous."""

    @property
    def backend_cls(self) -> type["RendezvousBackend"]:
        """Return what sets the process group up."""
        return RendezvousBackend


class RendezvousBackend(_TorchBackend):
    """Ray Train's set-up of PyTorch, by a file where every worker is on the same node."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Set up the process group on every rank."""
        if len(set(worker_group.execute(_node))) > 1:
            super().on_start(worker_group, backend_config)
            return
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        how = {
            "backend": "nccl" if gpus else "gloo",
            "store": worker_group.execute_single(0, _new_store),
            "world_size": len(worker_group),
            "seconds": backend_config.timeout_s,
        }

        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(rank, _meet, world_rank=rank, **how)
                for rank in range(len(worker_group))
            ]
        )


def _node() -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _new_store() -> str:
    """Return the path of an empty file in the folder of this node's Ray, which ends with it."""
    folder = ray._private.worker.global_worker.node.get_session_dir_path()
    return tempfile.NamedTemporaryFile(dir=folder, prefix="rendezvous-", delete=False).name


def _meet(backend: str, store: str, world_size: int, world_rank: int, seconds: int) -> None:
    """Set up this rank's process group."""
    from torch import distributed

    distributed.init_process_group(
        backend,
        store=distributed.FileStore(store, world_size),  # type: ignore[attr-defined]
        rank=world_rank,
        world_size=world_size,
        timeout=timedelta(seconds=seconds),
    )
