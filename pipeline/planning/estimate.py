"""The plan: a row for each stage that would run, and what all of them cost together."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from operator import mul
from typing import get_args

from pipeline.params import DATASETS, TASKS, Cluster
from pipeline.params.registry import classifier
from pipeline.planning import disk, rounds
from pipeline.planning.data import Amount, amount_of
from pipeline.planning.disk import Disk
from pipeline.planning.speed import Kind, Speed, Speeds, threads
from pipeline.planning.stages import DATA, SEARCHES, PlannedStage, stages_of
from pipeline.planning.trainings import Group, group_of, runs_left, share, slots
from pipeline.planning.work import PlannedWork, Training, training_of, work_of
from pipeline.project.call import Call

NONE = Disk(0)


@dataclass(frozen=True)
class Time:
    """Seconds that devices of one kind (GPUs, or CPU cores) are busy, and seconds of a clock."""

    busy: float
    wall: float
    kind: Kind
    device: str


@dataclass(frozen=True)
class PlannedTrials:
    """What is particular to a search.

    `epochs` are those of all its trials at the most, `cut` where rungs cut as they are meant.
    `left_out` combinations cannot be run; `budgets` has a row for each budget of a factorial.
    """

    epochs: float
    cut: float
    left_out: int
    budgets: "tuple[tuple[str, PlanRow], ...]" = ()


@dataclass(frozen=True)
class PlanRow:
    """What a stage would cost; None where nobody knows.

    `images` are trained on or, by fetch and shard, looked at; `evaluated` go through the network
    alone. `bases` say what the times are from; `rough` where operations or areas were scaled.
    """

    stage: PlannedStage
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
    trials: PlannedTrials | None = None

    def busy(self, kind: Kind) -> float:
        """Return the device-seconds of one kind."""
        return sum(time.busy for time in self.times or () if time.kind == kind)

    @property
    def wall(self) -> float | None:
        """Seconds of a clock."""
        return None if self.times is None else sum(time.wall for time in self.times)

    @property
    def rounded(self) -> bool:
        """Whether its time is from round figures that nobody measured."""
        return any(basis.startswith(rounds.BASIS) for basis in self.bases)

    @property
    def idle(self) -> bool:
        """Whether all its runs are finished: it costs nothing but publishing."""
        return 0 < self.runs == self.finished


@dataclass(frozen=True)
class Plan:
    """Rows in the order of the pipeline, the data sets that they read, and the names of stages that
    would not run.

    `cached` are those whose outputs DVC has kept; `free` are bytes on the project's disk; there is
    room for so many `workers`, and an hour of a GPU costs `price`.
    """

    rows: tuple[PlanRow, ...]
    amounts: tuple[Amount, ...]
    current: tuple[str, ...]
    cached: tuple[str, ...]
    free: int
    workers: Mapping[Kind, int] = field(default_factory=dict)
    price: float | None = None

    def money(self, seconds: float) -> float | None:
        """Return what so many seconds of a GPU cost; None where params name no price."""
        return None if self.price is None else seconds / 3600 * self.price

    def busy(self, kind: Kind) -> float:
        """Return the device-seconds of one kind that are known."""
        return sum(row.busy(kind) for row in self.rows)

    def verbs(self, kind: Kind) -> dict[str, float]:
        """Return the device-seconds of one kind by verb, the longest first."""
        seconds: dict[str, float] = {}
        for row in self.rows:
            seconds[row.stage.verb] = seconds.get(row.stage.verb, 0.0) + row.busy(kind)
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))

    @property
    def wall(self) -> float:
        """Seconds of a clock that are known: stages run one after another."""
        return sum(row.wall or 0.0 for row in self.rows)

    @property
    def disk(self) -> Disk:
        """What stays, and the most that any one stage needs beside it; of the rows where it is
        known.
        """
        disks = [row.disk for row in self.rows if row.disk is not None]
        return Disk(
            sum(entry.kept for entry in disks), max((entry.passing for entry in disks), default=0)
        )


def plan(call: Call) -> Plan:
    """Return what these parameters would cost.

    Raises:
        UserError: the project cannot be read, or a training could not begin.
    """
    return _Planner(call).plan()


class _Planner:
    """What every row needs: the standing of the stages, the data, the speeds, each looked at
    once.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.stages = stages_of(call)
        self.speeds = Speeds(call)
        self.amount = cache(lambda name: amount_of(call, name))

    def plan(self) -> Plan:
        rows = tuple(self.row(stage) for stage in self.stages if stage.state == "runs")

        names = {
            state: tuple(s.name for s in self.stages if s.state == state)
            for state in ("current", "cached")
        }

        tasks = {row.stage.verb for row in rows if row.stage.verb in TASKS}
        tasks |= {
            getattr(self.call.params, row.stage.verb).task
            for row in rows
            if row.stage.verb in SEARCHES
        }

        read = {getattr(self.call.params, task).dataset for task in tasks}
        read |= {row.stage.key for row in rows if row.stage.verb in DATA}
        amounts = tuple(self.amount(name) for name in DATASETS if name in read)

        return Plan(
            rows,
            amounts,
            names["current"],
            names["cached"],
            disk.free(self.call.folders.root),
            {kind: slots(self.call.params.cluster, kind) for kind in get_args(Kind)},
            self.call.params.plan.price_per_gpu_hour,
        )

    def row(self, stage: PlannedStage) -> PlanRow:
        """Return the cost of one stage."""
        if stage.verb in DATA:
            return self.data(stage)
        if stage.verb == "profile":
            return self.profile(stage)
        group = group_of(self.call, stage.verb, stage.key)
        return PlanRow(stage) if group is None else self.trained(stage, group)

    def data(self, stage: PlannedStage) -> PlanRow:
        """Return the cost of fetch or shard; their time is not estimated, it is that of disk and
        network.
        """
        amount = self.amount(stage.key)
        taken = (
            disk.of_fetch(self.call, amount)
            if stage.verb == "fetch"
            else disk.of_shard(self.call, amount)
        )
        return PlanRow(stage, images=amount.total, disk=taken)

    def trained(self, stage: PlannedStage, group: Group) -> PlanRow:
        """Return the cost of all trainings of a stage; one after a stage that runs is counted from
        the start.
        """
        unknown = [None for _ in group.trainings]
        remaining = unknown if stage.after else runs_left(self.call, group)

        work = [
            work_of(training, self.amount(training.section.dataset), runs)
            for training, runs in zip(group.trainings, remaining, strict=True)
        ]
        rows = [
            self.training(stage, group, *pair) for pair in zip(group.trainings, work, strict=True)
        ]

        total = replace(reduce(_together, rows), disk=self.weights(group, rows))
        if group.search is None:
            return total

        budgets: dict[str, PlanRow] = {}
        for training, row in zip(group.trainings, rows, strict=True):
            if training.budget:
                budgets[training.budget] = (
                    _together(budgets[training.budget], row) if training.budget in budgets else row
                )

        return replace(total, trials=_trials(group, work, tuple(budgets.items())))

    def training(
        self, stage: PlannedStage, group: Group, training: Training, work: PlannedWork | None
    ) -> PlanRow:
        """Return the cost of a training on all its seeds."""
        if work is None:
            return PlanRow(stage, None, None, None, None, None, runs=len(training.seeds))
        measured = self.speeds.of(training)

        kept = disk.of_training(
            self.call, training.recipe, work, measured.parameters, published=group.search is None
        )
        row = PlanRow(stage, work.images, work.evaluated, work.steps, kept)
        row = replace(row, runs=work.runs, finished=work.finished, begun=work.begun)

        if not work.steps:
            return row
        return _timed(
            row, measured.speed, _devices(measured.speed.kind, self.call.params.cluster, group)
        )

    def weights(self, group: Group, rows: list[PlanRow]) -> Disk | None:
        """Return what all trainings of a stage leave, and what those that go on at once need beside
        it.
        """
        disks = [row.disk for row in rows if row.disk is not None]
        if len(disks) < len(rows):
            return None

        passing = sorted((entry.passing for entry in disks), reverse=True)
        cluster = self.call.params.cluster
        most = group.at_once(cluster, slots(cluster, "CPU"))
        return Disk(sum(entry.kept for entry in disks), sum(passing[:most]))

    def profile(self, stage: PlannedStage) -> PlanRow:
        """Return the cost of a profile, which one process takes on one GPU or on all cores of a
        machine.
        """
        numbers = self.call.params.profile
        training = training_of(self.call.params, classifier(), stage.key)
        images = numbers.batch_size * (numbers.warmup + numbers.timed)
        speed = self.speeds.of_step(training).speed
        cores = os.cpu_count() or 1
        return _timed(PlanRow(stage, images, images), speed, cores if speed.kind == "CPU" else 1)


def _timed(row: PlanRow, speed: Speed, devices: float) -> PlanRow:
    """Return a row with what its images take at a speed, on so many devices at once."""
    busy = (row.images or 0) * speed.train + (row.evaluated or 0) * speed.evaluation
    time = Time(busy, busy / devices, speed.kind, speed.device)
    return replace(row, times=(time,), bases=(speed.basis,), rough=speed.rough)


def _devices(kind: Kind, cluster: Cluster, group: Group) -> float:
    """Return how many devices a stage keeps busy."""
    workers = group.workers * group.at_once(cluster, slots(cluster, kind))
    if kind == "CPU":
        return workers * threads(cluster)
    shared = cluster.gpus_per_worker
    return workers * (min(1.0, shared) if shared != "auto" and shared > 0 else 1.0)


def _together(row: PlanRow, other: PlanRow) -> PlanRow:
    """Return two trainings of a stage as one row; what nobody knows of one is unknown of both."""
    return replace(
        row,
        images=_sum(row.images, other.images),
        evaluated=_sum(row.evaluated, other.evaluated),
        steps=_sum(row.steps, other.steps),
        times=_both(row.times, other.times),
        bases=tuple(dict.fromkeys((*row.bases, *other.bases))),
        rough=row.rough or other.rough,
        runs=row.runs + other.runs,
        finished=row.finished + other.finished,
        begun=row.begun + other.begun,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _both(
    some: tuple[Time, ...] | None, others: tuple[Time, ...] | None
) -> tuple[Time, ...] | None:
    """Return the times of two rows, one for each device."""
    if some is None or others is None:
        return None
    by_device: dict[str, Time] = {}
    for time in (*some, *others):
        last = by_device.get(time.device, Time(0.0, 0.0, time.kind, time.device))
        by_device[time.device] = replace(
            last, busy=last.busy + time.busy, wall=last.wall + time.wall
        )
    return tuple(by_device.values())


def _trials(
    group: Group, work: list[PlannedWork | None], budgets: tuple[tuple[str, PlanRow], ...]
) -> PlannedTrials | None:
    """Return how many epochs the trials have together; None where the images are unknown."""
    counted = [planned for planned in work if planned is not None]
    if len(counted) < len(work):
        return None

    epochs = [planned.steps / planned.per_epoch for planned in counted]
    shares = [
        share(group.halved, planned.total / planned.per_epoch, planned.total)
        if group.halved
        else 1.0
        for planned in counted
    ]

    return PlannedTrials(sum(epochs), sum(map(mul, epochs, shares)), group.left_out, budgets)
