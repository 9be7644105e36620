"""Connecting a process to Ray: to the head of its session, or to the cluster that RAY_ADDRESS
names.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.cluster.head import init_ray
from pipeline.cluster.heartbeat import followed
from pipeline.cluster.session import new_session, session_head
from pipeline.core import environment
from pipeline.core.environment import SESSION
from pipeline.core.errors import UserError, discreet
from pipeline.core.shell import shell_line
from pipeline.params import Cluster

NOT_SHIPPED = ["/data", "/runs", "/results", "/adhoc"]
OPEN_QUESTION = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect this process to Ray for the duration of the block.

    Raises:
        UserError: RAY_ADDRESS names something that cannot be joined, or this machine has not the
            GPUs asked for.
    """
    environment.own_token()
    import ray

    if ray.is_initialized():  # somebody above us owns the connection
        yield
        return

    address = _to_join()
    if not address:
        _refuse_missing_gpus(cluster)
    else:
        _refuse_open(address, cluster)
        project = {"working_dir": str(Path.cwd()), "excludes": NOT_SHIPPED, **_python()}
        joined = _join(address, None if environment.in_shipped_job() else project)

    with ExitStack() as stack:
        if not address:
            session = os.environ.get(SESSION) or stack.enter_context(new_session())
            joined = _join(session_head(Path(session), cluster), _python())
        stack.callback(ray.shutdown)
        stack.enter_context(followed(joined))
        yield


def _to_join() -> str | None:
    """Return the cluster to join; None for a head of our own, also where RAY_ADDRESS names a
    dashboard: what is not submitted there is done here.

    Raises:
        UserError: RAY_ADDRESS is of a kind that is not known here.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address or "://" not in address:
        return address
    if not address.startswith(("http://", "https://")):
        raise UserError(
            f"RAY_ADDRESS={discreet(address)} is of an unknown kind; use host:port, auto, or the "
            "dashboard's address, http://host:8265"
        )

    del os.environ["RAY_ADDRESS"]  # the head of our own would ask it for what it is
    return None


def _refuse_missing_gpus(cluster: Cluster) -> None:
    """Say now what a head of our own would not have; starting one first takes half a minute."""
    if cluster.gpus_per_worker in ("auto", 0):
        return
    import torch

    need = float(cluster.gpus_per_worker) * cluster.min_workers
    have = torch.cuda.device_count()
    if need > have:
        raise UserError(
            f"{cluster.min_workers} workers need {need:g} GPU, this machine has {have}; lower "
            "cluster.workers or "
            "cluster.gpus_per_worker, or name a cluster in RAY_ADDRESS"
        )


def _refuse_open(address: str, cluster: Cluster) -> None:
    """Stay away from a cluster that asks nobody for a token, before anything of ours is sent there.

    The question is one of Ray's own, put without a token: an answer means that anybody may run code
    there.
    """
    import grpc

    if cluster.allow_open:
        return

    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address_or_die

        try:
            address = canonicalize_bootstrap_address_or_die("auto")
        except ConnectionError as error:
            raise UserError(f"cannot join a Ray cluster: {str(error).splitlines()[0]}") from None
    _knock(address)

    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(OPEN_QUESTION, request_serializer=bytes)
        try:
            ask(b"", timeout=30)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE):
                return  # it wants a token, or is not there: joining says that best

    raise UserError(
        f"the Ray cluster at {address} asks for no token, so that everybody who reaches it can "
        "run code there; start "
        "it with RAY_AUTH_MODE=token, or say cluster.allow_open: true"
    )


def _python() -> dict[str, str]:
    """Return the environment of workers whose Python lies in a folder with a space or the like: Ray
    writes its path into a shell's command as it is.
    """
    quoted = shell_line(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def _join(address: str, runtime: dict[str, Any] | None) -> str:
    """Join a cluster, whose workers get an environment; return the address of its head."""
    import ray

    if address != "auto":
        _knock(address)

    try:
        return str(init_ray(address=address, runtime_env=runtime).address_info["gcs_address"])
    except (ConnectionError, ray.exceptions.RayError, ValueError) as error:
        raise UserError(
            f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}"
        ) from None


def _knock(address: str) -> None:
    """Fail now where nobody listens: Ray tries for minutes and then ends the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot join the Ray cluster at {address}: {error}; is RAY_ADDRESS right?"
        ) from None
