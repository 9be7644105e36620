"""Groups of workers side by side: each trains its share of the runs, one after the other.

The driver's main thread only waits: for the groups, and for a request to end.
"""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.exceptions import ActorDiedError
from ray.train import ControllerError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2.api.exceptions import TrainingFailedError

from pipeline.cluster import leaving
from pipeline.cluster.losses import died, last_line
from pipeline.cluster.places import find_place, release_dead
from pipeline.cluster.progress import following
from pipeline.cluster.workers import CONTROLLER_RETRIES, Reports, trainer
from pipeline.core import failpoints, watchdog
from pipeline.core.command import leave_closed_terminal
from pipeline.core.errors import DiskFull, UserError, shortened
from pipeline.core.progress import say
from pipeline.params import Cluster
from pipeline.runs.run import Run

SAME_REQUEST_S = 1.0
POLL_S = 2.0
GRACE_S = 20.0
"""How long a driver that is to end waits for the checkpoints of its groups."""
END_S = 10.0
NODES_S = 600.0
"""How long a group waits for nodes that take the place of those that it lost."""


def train_runs(runs: list[Run], cluster: Cluster) -> dict[str, str]:
    """Train every run of the list, in as many groups of workers as the cluster holds, and return
    the runs that bad input ended, with the reason.

    Raises:
        UserError: the cluster cannot hold the workers, or training failed too often.
    """
    count = find_place(cluster, len(runs))
    groups = [WorkerGroup(runs[place::count], cluster) for place in range(count)]
    if count > 1:
        say(f"{len(runs)} runs in {count} groups of workers, side by side")

    with following(runs), _asked_to_end(groups) as requests:
        for group in groups:
            group.start()
        try:
            _wait(groups, requests)
        finally:
            if requests:
                _end(groups)

    if errors := [group.error for group in groups if group.error is not None]:
        raise next((error for error in errors if isinstance(error, DiskFull)), errors[0])
    return {run: why for group in groups for run, why in group.wrong.items()}


class WorkerGroup(threading.Thread):
    """One Ray Train worker group for several runs: processes start and import once, then train run
    after run.

    A worker that dies takes its group with it; Ray starts a new one (`max_failures` times), which
    passes over finished runs and continues the others from their newest checkpoint. A controller
    that dies is started anew.
    """

    def __init__(self, runs: list[Run], cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.runs = runs
        self.cluster = cluster
        self.key = f"{runs[0].id}-{time.time_ns()}"
        self.wrong: dict[str, str] = {}
        self.error: Exception | None = None
        self.asked = False
        self._deaths = self._displaced = 0

    def ask(self) -> None:
        """Ask the workers to leave their run with a checkpoint."""
        self.asked = True
        leaving.ask(self.key)

    def run(self) -> None:
        """Train until every run has ended, one way or the other."""
        try:
            while (unfinished := self._left()) and not self.asked:
                self._train(unfinished)
                leaving.withdraw(self.key)
                if self._left() and not self.asked:
                    find_place(self.cluster, 1, NODES_S)
        except Exception as error:
            self.error = error

    def _left(self) -> list[Run]:
        return [run for run in self.runs if run.id not in self.wrong and run.finished() is None]

    def _train(self, runs: list[Run]) -> None:
        """Train until all runs have ended, the group was asked to leave, or it must begin anew."""
        reports = Reports(failpoints.armed())
        try:
            result = trainer(runs, self.cluster, [reports], group=self.key).fit()
            self.wrong |= result.return_value or {}
        except TrainingFailedError as error:
            if not _no_place(error):
                raise self._failed(error) from error
            # another command took the place between our look and Ray's; `run` looks for one again
            self._displaced += 1
            if self._displaced > CONTROLLER_RETRIES:
                raise UserError(
                    f"a place for {self.cluster.min_workers} workers was taken {self._displaced} "
                    "times before they could start; run the command again when the cluster is less "
                    "busy"
                ) from error
        except ActorDiedError as error:
            # a group that was asked to leave and did not in time was ended
            if self.asked:
                return
            reason = _last_words(str(error))
            self._deaths += 1
            if self._deaths > CONTROLLER_RETRIES:
                raise UserError(
                    f"the training controller died {self._deaths} times ({reason}); is the "
                    "machine out of memory?"
                ) from error
            say(f"the training controller died ({reason}); starting it again")
            release_dead()  # or its successor waits for the places that it still holds

    def _failed(self, error: TrainingFailedError) -> UserError:
        failures = getattr(error, "worker_failures", {})  # a controller's own error has none
        full = (cause for cause in failures.values() if isinstance(cause, DiskFull))
        restarts = self.cluster.max_failures
        return next(full, None) or UserError(
            f"training failed after {restarts} restarts: {_reason(error)}"
        )


def _no_place(error: TrainingFailedError) -> bool:
    """Return whether a group did not find the place that it had been seen to have."""
    return isinstance(error, ControllerError) and isinstance(
        error.controller_failure, WorkerGroupStartupTimeoutError
    )


def _wait(groups: list[WorkerGroup], requests: list[float]) -> None:
    """Wait until all groups have ended, or have had the time to leave."""
    while alive := [group for group in groups if group.is_alive()]:
        alive[0].join(POLL_S)
        if requests and time.monotonic() - requests[0] > GRACE_S:
            return


def _end(groups: list[WorkerGroup]) -> None:
    """End what has not left in time: Ray ends a process that disconnects while it waits."""
    for group in groups:
        if group.is_alive():
            leaving.end(group.key)
    for group in groups:
        group.join(END_S)


@contextmanager
def _asked_to_end(groups: list[WorkerGroup]) -> Iterator[list[float]]:
    """Let the first request to end leave the runs with a checkpoint; the next one is answered as
    before the block, at once, and so is the first one when the block is over.

    Yields:
        When the first request came, once it has.
    """
    before = {number: signal.getsignal(number) for number in watchdog.ENDINGS}
    requests: list[float] = []
    first: list[int] = []

    def end(number: int, frame: Any) -> None:
        if requests and time.monotonic() - requests[0] > SAME_REQUEST_S:
            _answer(before, number)
        if not requests:
            requests.append(time.monotonic())
            first.append(number)
            watchdog.ending.set()
            leave_closed_terminal()
            for group in groups:
                threading.Thread(target=group.ask, daemon=True).start()

    # a process catches signals in its main thread alone
    here = threading.current_thread() is threading.main_thread()
    changed = [number for number, handler in before.items() if here and callable(handler)]
    for number in changed:
        signal.signal(number, end)

    try:
        yield requests
    finally:
        for number in changed:
            signal.signal(number, before[number])
    if first:
        _answer(before, first[0])


def _answer(handlers: dict[signal.Signals, Any], number: int) -> None:
    handlers[signal.Signals(number)](number, None)


def _last_words(text: str) -> str:
    """Return of Ray's long account of a death the last line that names an error, else the first."""
    lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return shortened((errors[-1:] or lines[:1] or ["no reason given"])[0], 200)


def _reason(error: TrainingFailedError) -> str:
    """Return in one line what workers ended with: their own sentence where they had one."""
    failures = getattr(error, "worker_failures", {})
    causes = [
        cause
        for failure in failures.values()
        for cause in (failure, getattr(failure, "cause", None))
    ]

    if sentences := [str(cause) for cause in causes if isinstance(cause, UserError)]:
        return sentences[0]
    if lost := [rank for rank, failure in failures.items() if died(failure)]:
        return f"the process of rank {lost[0]} died; is its machine out of memory?"
    return last_line(error)
