"""Where Ray runs: a head of one's own, the head of one `make repro`, or a cluster named by RAY_ADDRESS.

`python -m pipeline.cluster -- dvc repro` runs a command as a session: the first stage in it that needs Ray starts a
head, the later ones reuse it, and it ends with the session.
"""

import argparse
import fcntl
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import environment
from pipeline.cli import main
from pipeline.environment import SESSION
from pipeline.errors import UserError
from pipeline.files import write_text
from pipeline.lifeline import ENDINGS
from pipeline.params import Cluster

if TYPE_CHECKING:
    import psutil

START_LIMIT_S = 600  # for all tries, on a busy machine; a head that gives up ends by itself
START_TRIES = 3
DASHBOARD = "dashboard"  # as Ray calls the process
LOOPBACK = "127.0.0.1"
OPEN_QUESTION = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect this process to Ray for the duration of the block.

    Raises:
        UserError: RAY_ADDRESS names something that cannot be joined, or this machine has not the GPUs asked for.
    """
    environment.own_token()
    import ray

    if ray.is_initialized():  # somebody above us owns the connection
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address and "://" in address:
        raise UserError(f"RAY_ADDRESS={address}: submitting a job is not supported yet; use host:port or auto")
    if not address:
        _refuse_missing_gpus(cluster)
    else:
        _refuse_open(address, cluster)
        _join(address, runtime_env={"working_dir": str(Path.cwd()), "excludes": ["data", "runs", "results", "adhoc"]})
    with ExitStack() as own:
        if not address:
            session = os.environ.get(SESSION) or own.enter_context(_session())
            _join(_session_head(Path(session), cluster))
        own.callback(ray.shutdown)
        yield


def _refuse_missing_gpus(cluster: Cluster) -> None:
    """Say now what a head of our own would not have; starting one first takes half a minute."""
    if cluster.gpus_per_worker in ("auto", 0):
        return
    import torch

    need, have = float(cluster.gpus_per_worker) * cluster.workers, torch.cuda.device_count()
    if need > have:
        raise UserError(
            f"{cluster.workers} workers need {need:g} GPU, this machine has {have}; lower cluster.workers or "
            "cluster.gpus_per_worker, or name a cluster in RAY_ADDRESS"
        )


def _refuse_open(address: str, cluster: Cluster) -> None:
    """Stay away from a cluster that asks nobody for a token, before anything of ours is sent there.

    The question is one of Ray's own, put without a token: an answer means that anybody may run code there.
    """
    import grpc  # type: ignore[import-untyped]

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
        f"the Ray cluster at {address} asks for no token, so that everybody who reaches it can run code there; start "
        "it with RAY_AUTH_MODE=token, or say cluster.allow_open: true"
    )


def _join(address: str, **options: Any) -> None:
    import ray

    if address != "auto":
        _knock(address)
    try:
        _init(address=address, **options)
    except (ConnectionError, ray.exceptions.RayError, ValueError) as error:
        raise UserError(f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}") from None


def _knock(address: str) -> None:
    """Fail now where nobody listens: Ray tries for minutes and then ends the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot join the Ray cluster at {address}: {error}; is RAY_ADDRESS right?") from None


def _start(cluster: Cluster, temporary: Path) -> str:
    """Start a head in this process's name, on loopback, large enough for the workers; return its address."""
    # A rank more than there are cores is slow, not wrong: the same run on a smaller machine.
    cpus = max(os.cpu_count() or 1, math.ceil(cluster.workers * cluster.cpus_per_worker))
    for again in range(START_TRIES):
        try:
            with _dashboard_without_questions(temporary):
                context = _init(
                    address="local", num_cpus=cpus, include_dashboard=True, dashboard_host=LOOPBACK,
                    object_store_memory=256 * 2**20, _temp_dir=str(temporary / f"ray{again}"),
                )  # fmt: skip
            return str(context.address_info["gcs_address"])
        except Exception as error:  # Ray gives its head 30 s, and says no more of it than that
            _shut_down()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise UserError(f"the local Ray head did not start in {START_TRIES} tries: {reason}; is the machine overloaded?")


@contextmanager
def _dashboard_without_questions(folder: Path) -> Iterator[None]:
    """Let Ray start its dashboard so that it asks no network which cloud it is in.

    It asks the metadata addresses of three clouds before it looks whether usage is reported at all, unless its home
    has the file of Ray's cluster launcher; so it gets a home with such a file, and no process but it.
    """
    from ray._private import services

    start = services.start_ray_process
    home = folder / "dashboard"
    home.mkdir(exist_ok=True)
    (home / "ray_bootstrap_config.yaml").write_text("{}")

    def start_quietly(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        if process_type == DASHBOARD:
            token = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(Path("~/.ray/auth_token").expanduser())
            apart = {"HOME": str(home), "RAY_AUTH_TOKEN_PATH": token}
            options["env_updates"] = {**(options.get("env_updates") or {}), **apart}
        return start(command, process_type, *args, **options)

    services.start_ray_process = start_quietly
    try:
        yield
    finally:
        services.start_ray_process = start


def _shut_down() -> None:
    import ray

    ray.shutdown()


def _init(**options: Any) -> Any:
    """Start or join Ray, which takes SIGTERM for itself: give it back to whoever had it."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    context = ray.init(log_to_driver=False, logging_level="ERROR", **options)
    signal.signal(signal.SIGTERM, handler)
    return context


def _session_head(folder: Path, cluster: Cluster) -> str:
    """Return the address of the session's head, started on first use and again where it died.

    It is a process group of its own: a signal to this one's group leaves Ray alone until what is open is closed.
    """
    address = folder / "address"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _answers(folder):
            _forget_head(folder)
            size = ["--workers", str(cluster.workers), "--cpus", str(cluster.cpus_per_worker)]
            command = [sys.executable, "-m", "pipeline.cluster", "--head", str(folder), *size]
            with open(folder / "head.log", "wb") as log:
                head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            _wait_for(address, head, folder / "head.log")
    return address.read_text()


def _answers(folder: Path) -> bool:
    """Return whether the session's head runs and listens."""
    try:
        host, _, port = (folder / "address").read_text().rpartition(":")
        os.kill(int((folder / "head").read_text()), 0)
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError):
        return False
    return True


def _forget_head(folder: Path) -> None:
    """End what is left of a head that died."""
    head = folder / "head"
    if head.exists():
        print("the local Ray head died; starting it again", flush=True)
        with suppress(OSError, ValueError):
            os.killpg(int(head.read_text()), signal.SIGKILL)
        head.unlink()
    (folder / "address").unlink(missing_ok=True)


def _wait_for(address: Path, head: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not address.exists():
        if head.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise UserError(f"the local Ray head did not start: {' '.join(tail) or f'silent for {START_LIMIT_S} s'}")
        time.sleep(0.1)


def _head(folder: Path, cluster: Cluster) -> None:
    """Hold a head until the session ends: its marker is gone, or the process that owns it is."""
    environment.own_token()
    import ray

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    owner = int((folder / "owner").read_text())
    write_text(folder / "head", str(os.getpid()))
    write_text(folder / "address", _start(cluster, folder))
    parts = _parts()
    while (folder / "owner").exists() and _alive(owner) and all(map(_runs, parts)):
        time.sleep(0.5)
    ray.shutdown()
    if not _alive(owner):
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _parts() -> "list[psutil.Process]":
    """Return the processes without which a head is none."""
    import psutil

    return [child for child in psutil.Process().children() if child.name() in ("gcs_server", "raylet")]


def _runs(process: "psutil.Process") -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _session() -> Iterator[str]:
    """Make this process the owner of a session for the block: the head that is started in it ends with it."""
    environment.own_token()  # one for all the stages, also where none can lie in the home
    folder = Path(tempfile.mkdtemp(prefix="session-"))
    write_text(folder / "owner", str(os.getpid()))
    try:
        yield str(folder)
    finally:
        _end_head(folder)
        shutil.rmtree(folder, ignore_errors=True)


def run_session(*commands: list[str]) -> int:
    """Run commands one after the other, until one fails, as a session; return the exit code.

    They are a process group of their own: whichever way this process is asked to end, they are asked once, by SIGINT,
    which DVC leaves to its stage, and are waited for.
    """
    asked: list[int] = []
    with _session() as folder:
        for command in commands:
            code = _run(command, folder, asked)
            if asked or code:
                break
    return 128 + asked[0] if asked else code


def _run(command: list[str], folder: str, asked: list[int]) -> int:
    groups: list[int] = []

    def forward(number: int, _: object) -> None:
        asked.append(number)
        for group in groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGINT)

    for number in ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    process = subprocess.Popen(command, env={**os.environ, SESSION: folder}, process_group=0)
    groups.append(process.pid)
    if asked:
        os.killpg(process.pid, signal.SIGINT)
    return process.wait()


def _end_head(folder: Path) -> None:
    (folder / "owner").unlink(missing_ok=True)
    head = folder / "head"
    deadline = time.monotonic() + 20
    while head.exists() and _alive(int(head.read_text())) and time.monotonic() < deadline:
        time.sleep(0.1)
    if head.exists():
        with suppress(OSError, ValueError):
            os.killpg(int(head.read_text()), signal.SIGKILL)


def _main() -> None:
    made = argparse.ArgumentParser(description="Run a command with one Ray head for all the stages in it.")
    made.add_argument("--head", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    made.add_argument("--cpus", type=float, default=1, help=argparse.SUPPRESS)
    made.add_argument("command", nargs="*", help="the command, after --")
    args = made.parse_args()
    if args.head:
        _head(args.head, Cluster(workers=args.workers, cpus_per_worker=args.cpus))
    else:
        raise SystemExit(run_session(args.command))


if __name__ == "__main__":
    main(_main)
