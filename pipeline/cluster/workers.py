"""One Ray Train worker group for several runs: processes start and import once, then train run
after run.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ray.exceptions import ActorDiedError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.config import LoggingConfig
from ray.train.v2.api.exceptions import TrainingFailedError

from pipeline.cluster.losses import Losses
from pipeline.cluster.rendezvous import Rendezvous
from pipeline.core import failpoints
from pipeline.core.errors import DiskFull, Unreadable, UserError, shortened
from pipeline.core.files import digest
from pipeline.core.progress import say
from pipeline.params import Cluster
from pipeline.runs.run import Run
from pipeline.tracking.tracker import Recorder

if TYPE_CHECKING:
    from pipeline.loading.micro_batches import Ranks

CONTROLLER_RETRIES = 3


@dataclass
class Reports(UserCallback):
    """Hands each evaluation to the recorder, in the controller's process."""

    recorder: Recorder
    faults: str | None = None

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Record what rank 0 reported; the other ranks report the same numbers."""
        failpoints.arm(self.faults)
        failpoints.reach("controller.reported", step=metrics[0]["step"])
        self.recorder.record(metrics[0])
        failpoints.reach("controller.recorded", step=metrics[0]["step"])


class StopDecision(Protocol):
    """Who decides after each evaluation whether a run goes on; asked by rank 0, for all."""

    def __call__(self, row: dict[str, Any]) -> bool:
        """Take note of an evaluation; say whether the run goes on."""
        ...


def train_group(runs: list[Run], cluster: Cluster, recorder: Recorder) -> dict[str, str]:
    """Train every run of the list in one worker group and return the runs that bad input ended,
    with the reason.

    A worker that dies takes its group with it; Ray starts a new one (`max_failures` times), which
    passes over finished runs and continues the others from their newest checkpoint. A controller
    that dies is started anew.

    Raises:
        UserError: where the cluster cannot hold the workers, or training failed too often.
    """
    with following(runs):
        for _ in range(1 + CONTROLLER_RETRIES):
            try:
                return dict(
                    trainer(runs, cluster, [Reports(recorder, failpoints.armed()), Losses(runs)])
                    .fit()
                    .return_value
                    or {}
                )
            except TrainingFailedError as error:
                failures = getattr(
                    error, "worker_failures", {}
                )  # a controller's own error has none
                full = (cause for cause in failures.values() if isinstance(cause, DiskFull))
                raise next(full, None) or UserError(
                    f"training failed after {cluster.max_failures} restarts: {_reason(error)}"
                ) from error
            except SystemExit:  # Ray's own answer to Ctrl-C
                raise KeyboardInterrupt from None
            except ActorDiedError as error:
                reason = _last_words(str(error))
                say(f"the training controller died ({reason}); starting it again")
                _free_workers()

    raise UserError(
        f"the training controller died {1 + CONTROLLER_RETRIES} times ({reason}); is the machine "
        "out of memory?"
    )


def _last_words(text: str) -> str:
    """Return of Ray's long account of a death the last line that names an error, else the first."""
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return shortened((errors[-1:] or lines[:1] or ["no reason given"])[0], 200)


def _reason(error: TrainingFailedError) -> str:
    """Return in one line what workers ended with: their own sentence where they had one."""
    failures = getattr(error, "worker_failures", {}).values()
    causes = [cause for failure in failures for cause in (failure, getattr(failure, "cause", None))]
    if sentences := [str(cause) for cause in causes if isinstance(cause, UserError)]:
        return sentences[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def trainer(
    runs: list[Run],
    cluster: Cluster,
    callbacks: list[Any],
    gate: StopDecision | None = None,
) -> TorchTrainer:
    """Return a trainer with a folder of its own: what must survive is in the runs' checkpoints, not
    in Ray's.

    Its result is a mapping of run id to the sentence about the bad input that ended that run.
    """
    storage = runs[0].folder.parent
    return TorchTrainer(
        _work,
        train_loop_config={
            "runs": runs,
            "threads": threads_of(cluster),
            "faults": failpoints.armed(),
            "gate": gate,
        },
        torch_config=Rendezvous(),
        scaling_config=_scaling(cluster),
        run_config=RunConfig(
            name=f"ray-{digest([run.id for run in runs])[:12]}-{time.time_ns()}",
            storage_path=str(storage / "ray"),
            callbacks=callbacks,
            failure_config=FailureConfig(
                max_failures=cluster.max_failures, controller_failure_limit=CONTROLLER_RETRIES
            ),
            logging_config=LoggingConfig("WARNING"),
        ),
    )


def threads_of(cluster: Cluster) -> int:
    """Return how many threads a worker computes with."""
    return max(1, int(cluster.cpus_per_worker))


def gpus_per_worker(cluster: Cluster, there: dict[str, float]) -> float:
    """Return a worker's GPUs: as asked for, or one each where the resources that are `there` allow
    it.
    """
    if cluster.gpus_per_worker != "auto":
        return cluster.gpus_per_worker
    return 1.0 if there.get("GPU", 0) >= cluster.workers else 0.0


def _scaling(cluster: Cluster) -> ScalingConfig:
    """Return the workers' resources, after comparing them with what the cluster has."""
    import ray

    there = ray.cluster_resources()
    gpus = gpus_per_worker(cluster, there)
    for kind, each in (("CPU", cluster.cpus_per_worker), ("GPU", gpus)):
        if each * cluster.workers > there.get(kind, 0):
            raise UserError(
                f"{cluster.workers} workers need {each * cluster.workers:g} {kind}, the Ray "
                "cluster has "
                f"{there.get(kind, 0):g}; lower cluster.workers or "
                f"cluster.{kind.lower()}s_per_worker"
            )
    resources = {"CPU": cluster.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
    return ScalingConfig(
        num_workers=cluster.workers, use_gpu=gpus > 0, resources_per_worker=resources
    )


def _free_workers() -> None:
    """Give back the CPUs and GPUs that a dead controller reserved: they are its job's, which goes
    on.

    Ray's own cleaner asks the dashboard, and gives nothing back where there is none, or another Ray
    on this machine.
    """
    import ray
    from ray.util.placement_group import (
        PlacementGroup,
        placement_group_table,
        remove_placement_group,
    )

    job = ray.get_runtime_context().get_job_id()
    for identifier, group in placement_group_table().items():
        if identifier.endswith(job) and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(identifier))))


def _work(config: dict[str, Any]) -> dict[str, str]:
    """Train the unfinished runs on this rank; every rank goes through the same list."""
    import ray.train
    import ray.train.torch

    from pipeline.loading.micro_batches import Ranks
    from pipeline.training.loop import evaluations

    failpoints.arm(config["faults"])
    device = ray.train.torch.get_device()
    prepare_process(device, config["threads"])
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    wrong: dict[str, str] = {}
    gate: StopDecision | None = config["gate"]
    for run in config["runs"]:
        try:
            with closing(evaluations(run, ranks, device, _wrap, past=gate is not None)) as rows:
                for row in rows:
                    ray.train.report(row)
                    if gate is not None and not _together(gate, row, ranks):
                        break
        except (
            Unreadable,
            DiskFull,
        ):  # perhaps on this rank alone, so the group ends: the others would wait for ever
            raise
        except UserError as error:  # the same on every rank; the other runs are not at fault
            wrong[run.id] = str(error)
    return wrong


def prepare_process(device: Any, threads: int) -> None:
    """Set what a process computes with: bit for bit the same on a CPU, whichever process it is."""
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.backends.cudnn.benchmark = True


def _together(gate: StopDecision, row: dict[str, Any], ranks: "Ranks") -> bool:
    """Return rank 0's answer on every rank."""
    from pipeline.training.loop import from_rank_0

    return from_rank_0(gate(row) if ranks.rank == 0 else False, ranks)


def _wrap(model: Any) -> Any:
    """Wrap in DDP where there are several ranks."""
    import ray.train.torch

    from pipeline.training.loop import AVERAGING

    return ray.train.torch.prepare_model(model, parallel_strategy_kwargs=AVERAGING)


class following:
    """Print the runs' progress while the block runs: epoch, loss, images/s, time left."""

    def __init__(self, runs: list[Run], say: Callable[[str], None] = say) -> None:
        self.runs, self.say = runs, say
        self._offsets: dict[Path, int] = {run.progress: _size(run.progress) for run in runs}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._print_new()

    def _follow(self) -> None:
        while not self._stop.wait(2.0):
            self._print_new()

    def _print_new(self) -> None:
        """Print every note, and of the numbers only the newest of each run."""
        for run in self.runs:
            lines = self._new_lines(run.progress)
            for line in lines:
                if "note" in line:
                    self.say(f"{line['run']}: {line['note']}")
            if numbers := [line for line in lines if "step" in line]:
                self.say(_line(numbers[-1], self.runs.index(run) + 1, len(self.runs)))

    def _new_lines(self, path: Path) -> list[dict[str, Any]]:
        import json

        if _size(path) <= self._offsets[path]:
            return []
        with open(path) as file:
            file.seek(self._offsets[path])
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._offsets[path] += len(whole.encode())
        return [json.loads(line) for line in whole.splitlines()]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _line(now: dict[str, Any], place: int, count: int) -> str:
    minutes, seconds = divmod(round(now["seconds_left"]), 60)
    loss = "none" if now["loss"] is None else f"{now['loss']:.3f}"
    skipped = f"  {now['skipped']} passed over" if now.get("skipped") else ""
    return (
        f"[{place}/{count}] {now['run']}: epoch {now['epoch']:.1f}/{now['epochs']:.0f}  loss "
        f"{loss}{skipped}  "
        f"{now['images_per_second']:.0f} images/s  {minutes}:{seconds:02d} left"
    )
