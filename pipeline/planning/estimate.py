"""The plan: a row for each stage that would run, and what all of them cost together."""

import os
from dataclasses import dataclass, replace
from functools import cache

from pipeline.cli import Call
from pipeline.params import DATASETS, TASKS, Cluster
from pipeline.params.recipes import CLASSIFY
from pipeline.planning import disk
from pipeline.planning.data import Amount, amount_of
from pipeline.planning.disk import Disk
from pipeline.planning.speed import Kind, Speed, Speeds, threads
from pipeline.planning.stages import DATA, Stage, stages_of
from pipeline.planning.work import Training, runs_now, training_of, work_of

NONE = Disk(0)


@dataclass(frozen=True)
class Time:
    """Seconds that devices of one kind (GPUs, or CPU cores) are busy, and seconds of a clock."""

    busy: float
    wall: float
    kind: Kind
    device: str


@dataclass(frozen=True)
class Row:
    """What a stage would cost; None where nobody knows.

    `images` are trained on or, by fetch and shard, looked at; `evaluated` go through the network alone. `bases` say
    what the times are from; `rough` where operations or areas were scaled.
    """

    stage: Stage
    images: int | None = 0
    evaluated: int | None = 0
    steps: int | None = 0
    disk: Disk | None = NONE
    times: tuple[Time, ...] | None = ()
    bases: tuple[str, ...] = ()
    rough: bool = False
    runs: int = 0
    finished: int = 0
    begun: int = 0

    def busy(self, kind: Kind) -> float:
        """Return the device-seconds of one kind."""
        return sum(time.busy for time in self.times or () if time.kind == kind)

    @property
    def wall(self) -> float | None:
        """Seconds of a clock."""
        return None if self.times is None else sum(time.wall for time in self.times)

    @property
    def idle(self) -> bool:
        """Whether all its runs are finished: it costs nothing but publishing."""
        return 0 < self.runs == self.finished


@dataclass(frozen=True)
class Plan:
    """Rows in the order of the pipeline, the data sets that they read, and the names of stages that would not run.

    `cached` are those whose outputs DVC has kept; `free` are bytes on the project's disk.
    """

    rows: tuple[Row, ...]
    amounts: tuple[Amount, ...]
    current: tuple[str, ...]
    cached: tuple[str, ...]
    free: int

    def busy(self, kind: Kind) -> float:
        """Return the device-seconds of one kind that are known."""
        return sum(row.busy(kind) for row in self.rows)

    @property
    def wall(self) -> float:
        """Seconds of a clock that are known: stages run one after another."""
        return sum(row.wall or 0.0 for row in self.rows)

    @property
    def disk(self) -> Disk:
        """What stays, and the most that any one stage needs beside it; of the rows where it is known."""
        known = [row.disk for row in self.rows if row.disk is not None]
        return Disk(sum(one.kept for one in known), max((one.passing for one in known), default=0))


def plan(call: Call) -> Plan:
    """Return what these parameters would cost.

    Raises:
        UserError: the project cannot be read, or a training could not begin.
    """
    return _Planner(call).plan()


class _Planner:
    """What every row needs: the standing of the stages, the data, the speeds, each looked at once."""

    def __init__(self, call: Call) -> None:
        self.call, self.stages, self.speeds = call, stages_of(call), Speeds(call)
        self.amount = cache(lambda name: amount_of(call, name))

    def plan(self) -> Plan:
        rows = tuple(self.row(stage) for stage in self.stages if stage.state == "runs")
        names = {state: tuple(s.name for s in self.stages if s.state == state) for state in ("current", "cached")}
        read = {getattr(self.call.params, row.stage.verb).dataset for row in rows if row.stage.verb in TASKS}
        read |= {row.stage.key for row in rows if row.stage.verb in DATA}
        amounts = tuple(self.amount(name) for name in DATASETS if name in read)
        return Plan(rows, amounts, names["current"], names["cached"], disk.free(self.call.folders.root))

    def row(self, stage: Stage) -> Row:
        """Return the cost of one stage."""
        if stage.verb in DATA:
            return self.data(stage)
        if stage.verb in TASKS:
            return self.training(stage, training_of(self.call.params, stage.verb, stage.key))
        return self.profile(stage) if stage.verb == "profile" else Row(stage)

    def data(self, stage: Stage) -> Row:
        """Return the cost of fetch or shard; their time is not estimated, it is that of disk and network."""
        amount = self.amount(stage.key)
        taken = disk.of_fetch(self.call, amount) if stage.verb == "fetch" else disk.of_shard(self.call, amount)
        return Row(stage, images=amount.total, disk=taken)

    def training(self, stage: Stage, training: Training) -> Row:
        """Return the cost of a training on all its seeds.

        After a stage that runs, its runs cannot be told: they are counted from the start.
        """
        amount = self.amount(getattr(self.call.params, training.task).dataset)
        work = work_of(training, amount, None if stage.after else runs_now(self.call, training))
        if work is None:
            return Row(stage, None, None, None, None, None, runs=len(training.seeds))
        if not work.steps:
            kept = disk.of_training(self.call, training.recipe, work, None)
            return Row(stage, disk=kept, runs=work.runs, finished=work.finished, begun=work.begun)
        known = self.speeds.of(training)
        kept = disk.of_training(self.call, training.recipe, work, known.parameters)
        row = Row(stage, work.images, work.evaluated, work.steps, kept, None, (), False, work.runs, work.finished)
        return replace(_timed(row, known.speed, self.call.params.cluster), begun=work.begun)

    def profile(self, stage: Stage) -> Row:
        """Return the cost of a profile, which one process takes on one GPU or on all cores of a machine."""
        numbers, training = self.call.params.profile, training_of(self.call.params, CLASSIFY, stage.key)
        images = numbers.batch_size * (numbers.train_warmup + numbers.train_timed)
        evaluated = numbers.batch_size * (numbers.warmup + numbers.timed)
        return _timed(Row(stage, images, evaluated, times=None), self.speeds.of_step(training).speed, None)


def _timed(row: Row, speed: Speed | None, cluster: Cluster | None) -> Row:
    """Return a row with what its images take at a speed, on a cluster's workers or in one process."""
    if speed is None:
        return row
    busy = (row.images or 0) * speed.train + (row.evaluated or 0) * speed.evaluation
    time = Time(busy, busy / _devices(speed.kind, cluster), speed.kind, speed.device)
    return replace(row, times=(time,), bases=(speed.basis,), rough=speed.rough)


def _devices(kind: Kind, cluster: Cluster | None) -> float:
    """Return how many devices are busy at once."""
    if cluster is None:
        return 1 if kind == "GPU" else os.cpu_count() or 1
    if kind == "CPU":
        return cluster.workers * threads(cluster)
    shared = cluster.gpus_per_worker
    return cluster.workers * (min(1.0, shared) if shared != "auto" and shared > 0 else 1.0)
