"""One Ray Train worker group for several runs: processes start and import once, then train run
after run.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.v2.api.config import LoggingConfig

from pipeline.cluster.elastic import GroupTrainer
from pipeline.cluster.leaving import LeaveRequest, Leaving
from pipeline.cluster.losses import Losses
from pipeline.cluster.places import worker_of
from pipeline.cluster.rendezvous import Rendezvous
from pipeline.core import failpoints
from pipeline.core.errors import DiskFull, Unreadable, UserError
from pipeline.core.files import digest
from pipeline.params import Cluster
from pipeline.runs.run import Run

if TYPE_CHECKING:
    from pipeline.loading.micro_batches import Ranks

CONTROLLER_RETRIES = 3
RESIZE_S = 10.0
"""How often a group looks whether it could be larger."""


@dataclass
class Reports(UserCallback):
    """Hears of each evaluation in the controller's process, where a test may end that."""

    faults: str | None = None

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Pass the point; the numbers themselves are in the run's own file."""
        failpoints.arm(self.faults)
        failpoints.reach("controller.reported", step=metrics[0]["step"])


class ShouldContinue(Protocol):
    """Who decides after each evaluation whether a run goes on; asked by rank 0, for all.

    A process that started again tells it the run's evaluations from the first one on, since what it
    decides may depend on all of them.
    """

    def __call__(self, row: dict[str, Any]) -> bool:
        """Take note of an evaluation; return True where the run goes on."""
        ...


def trainer(
    runs: list[Run],
    cluster: Cluster,
    callbacks: list[UserCallback],
    should_continue: ShouldContinue | None = None,
    group: str | None = None,
) -> GroupTrainer:
    """Return a trainer with a folder of its own: what must survive is in the runs' checkpoints, not
    in Ray's.

    Under the name `group` its workers can be asked to leave.

    Its result is a mapping of run id to the sentence about the bad input that ended that run.
    """
    storage = runs[0].folder.parent
    scaling, sizes = _scaling(runs, cluster)

    group_trainer = GroupTrainer(
        _work,
        train_loop_config={
            "runs": runs,
            "threads": threads_of(cluster),
            "faults": failpoints.armed(),
            "should_continue": should_continue,
            "group": group,
        },
        torch_config=Rendezvous(),
        scaling_config=scaling,
        run_config=RunConfig(
            name=f"ray-{digest([run.id for run in runs])[:12]}-{time.time_ns()}",
            storage_path=str(storage / "ray"),
            callbacks=[*callbacks, Losses(runs), *([Leaving(group)] if group else [])],
            failure_config=FailureConfig(
                max_failures=cluster.max_failures, controller_failure_limit=CONTROLLER_RETRIES
            ),
            logging_config=LoggingConfig("WARNING"),
        ),
    )

    group_trainer.sizes = sizes
    return group_trainer


def threads_of(cluster: Cluster) -> int:
    """Return how many threads a worker computes with."""
    return max(1, int(cluster.cpus_per_worker))


def _scaling(runs: list[Run], cluster: Cluster) -> tuple[ScalingConfig, tuple[int, ...]]:
    """Return the workers' number and resources, and where there is a choice, the sizes."""
    worker = worker_of(cluster)
    elastic = cluster.max_workers > cluster.min_workers
    config = ScalingConfig(
        num_workers=(cluster.min_workers, cluster.max_workers) if elastic else cluster.max_workers,
        use_gpu="GPU" in worker,
        resources_per_worker=worker,
        elastic_resize_monitor_interval_s=RESIZE_S,
    )

    counts = {run.recipe.micro_batches for run in runs}
    sizes = range(cluster.min_workers, cluster.max_workers + 1)
    divisors = tuple(size for size in sizes if not any(count % size for count in counts))
    return config, divisors if elastic else ()


def _work(config: dict[str, Any]) -> dict[str, str]:
    """Train the unfinished runs on this rank; every rank goes through the same list."""
    import ray.train
    import ray.train.torch

    from pipeline.loading.micro_batches import Ranks
    from pipeline.training.loop import Left, evaluations

    failpoints.arm(config["faults"])
    device = ray.train.torch.get_device()
    prepare_process(device, config["threads"])
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())

    wrong: dict[str, str] = {}
    should_continue: ShouldContinue | None = config["should_continue"]
    hears = config["group"] is not None and ranks.rank == 0
    leave = LeaveRequest(config["group"]) if hears else _never

    for run in config["runs"]:
        try:
            # it hears all evaluations, see `ShouldContinue`; nobody else needs the past ones again
            past = should_continue is not None
            with closing(evaluations(run, ranks, device, _wrap, past, leave)) as rows:
                for row in rows:
                    ray.train.report(row)
                    if should_continue is not None and not _together(should_continue, row, ranks):
                        break
        except (Unreadable, DiskFull):
            # perhaps on this rank alone, so the group ends: the others would wait for ever
            raise
        except Left:
            break
        except UserError as error:  # the same on every rank; the other runs are not at fault
            wrong[run.id] = str(error)

    return wrong


def _never() -> bool:
    return False


def prepare_process(device: Any, threads: int) -> None:
    """Set what a process computes with: bit for bit the same on a CPU, whichever process it is."""
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.backends.cudnn.benchmark = True


def _together(should_continue: ShouldContinue, row: dict[str, Any], ranks: "Ranks") -> bool:
    """Return rank 0's answer on every rank."""
    from pipeline.training.collectives import broadcast

    return broadcast(should_continue(row) if ranks.rank == 0 else False, ranks)


def _wrap(model: Any) -> Any:
    """Wrap in DDP where there are several ranks."""
    import ray.train.torch

    from pipeline.training.collectives import DDP_OPTIONS

    return ray.train.torch.prepare_model(model, parallel_strategy_kwargs=DDP_OPTIONS)
