"""One trial in a process of Ray's: the very training that `train` runs, one evaluation at a time.

With one worker the engine runs in the trial's own process, which stays for the next trial; with
several, the trial holds a Ray Train run of its own. Either way a trial that is not wanted any more
ends by itself and gives back what it held, instead of being killed: nothing is left for somebody
else to clean away.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ray.exceptions import ActorDiedError
from ray.tune import Trainable

from pipeline.cluster.places import release_dead
from pipeline.core import failpoints
from pipeline.core.errors import UserError
from pipeline.params import Cluster
from pipeline.runs.run import Run
from pipeline.search.costs import Costs

Row = dict[str, Any]
POLL_S = 0.5


@dataclass(frozen=True)
class TrialWork:
    """What every trial of a search is given: the runs by id, the workers of each, the `metric` that
    trials are compared by, and the faults of a test.
    """

    runs: dict[str, Run]
    cluster: Cluster
    gpus: float
    metric: str
    faults: str | None = None


class Executor(Protocol):
    """Where one run is trained."""

    def next(self) -> Row | None:
        """Train to the next evaluation and return it; None when the run is finished."""
        ...

    def stop(self) -> None:
        """Leave the run where it is, and give back what it held."""
        ...


class InProcess:
    """A run in this process."""

    def __init__(self, run: Run, work: TrialWork) -> None:
        import torch

        from pipeline.cluster.workers import prepare_process, threads_of
        from pipeline.loading.micro_batches import Ranks
        from pipeline.training.loop import evaluations

        device = torch.device("cuda" if work.gpus else "cpu")
        prepare_process(device, threads_of(work.cluster))
        self._rows = evaluations(run, Ranks(), device, lambda model: model, replay_history=True)

    def next(self) -> Row | None:
        """Train to the next evaluation."""
        return next(self._rows, None)

    def stop(self) -> None:
        """Leave the run; its lock is free again."""
        self._rows.close()


@dataclass
class Mailbox:
    """Rank 0's side of a run on several workers, its `ShouldContinue`: it tells each evaluation to
    the trial, and waits to hear whether to go on.
    """

    told: Any
    answers: Any

    def __call__(self, row: Row) -> bool:
        """Tell an evaluation; return whether the run goes on."""
        self.told.put(row)
        return bool(self.answers.get())


class OnRayTrain:
    """A run on several workers: a Ray Train run, followed from here."""

    def __init__(self, run: Run, work: TrialWork) -> None:
        from ray.util.queue import Queue

        from pipeline.cluster.workers import Reports, trainer

        self._mailbox = Mailbox(*(Queue(actor_options={"num_cpus": 0}) for _ in range(2)))
        reports = Reports(work.faults)
        self._fit: Callable[[], Any] = trainer([run], work.cluster, [reports], self._mailbox).fit
        self._run = run
        self._workers_wait = False
        self._step = -1
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._thread.start()

    def _train(self) -> None:
        try:
            if wrong := dict(self._fit().return_value or {}):
                raise UserError(wrong[self._run.id])
        except ActorDiedError as error:
            release_dead()  # the other trials have only what the dead controller gives back
            self._error = error
        except Exception as error:
            self._error = error

    def next(self) -> Row | None:
        """Let the workers go on; wait for their next evaluation."""
        from ray.util.queue import Empty

        while True:
            self._answer(go_on=True)
            try:
                row: Row = self._mailbox.told.get(timeout=POLL_S)
            except Empty:
                if self._thread.is_alive():
                    continue
                if self._error is not None:
                    raise self._error from None
                return None

            self._workers_wait = True
            if row["step"] > self._step:  # workers that started again begin with what is known
                self._step = row["step"]
                return row

    def stop(self) -> None:
        """Tell the workers to stop, and wait until their resources are free."""
        self._answer(go_on=False)
        self._thread.join()
        for queue in (self._mailbox.told, self._mailbox.answers):
            queue.shutdown()

    def _answer(self, go_on: bool) -> None:
        """Answer the workers, if they told an evaluation and wait."""
        if self._workers_wait:
            self._mailbox.answers.put(go_on)
        self._workers_wait = False


class TuneTrial(Trainable):
    """What Ray Tune runs: each step is the training up to the next evaluation."""

    def setup(self, config: dict[str, Any], work: TrialWork) -> None:
        """Take the work; the run that `config` names begins with the first step."""
        failpoints.arm(work.faults)
        self._work = work
        self._costs = Costs()
        self._take(config)

    def _take(self, config: dict[str, Any]) -> None:
        self._run: Run = self._work.runs[config["run_id"]]
        self._executor: Executor | None = None
        self._healthy = True

    def step(self) -> Row:
        """Return the next evaluation: its numbers for the scheduler, and as `row` the evaluation
        again, without the fields that Ray Tune adds.

        The last word, with `done`, says that the run `finished`, or why it `failed`: among others
        because the metric is no finite number any more, so that the trial cannot be judged.
        """
        try:
            if self._executor is None:
                self._executor = (InProcess if self._work.cluster.max_workers == 1 else OnRayTrain)(
                    self._run, self._work
                )
            row = self._executor.next()
            if row is None:
                return {"run_id": self._run.id, "done": True, "finished": True}
            if self._work.metric not in row:
                raise UserError(
                    f"{self._work.metric} is not finite at step {row['step']}; lower optimizer.lr"
                )
            failpoints.reach("trial.evaluated", run=self._run.variant, step=row["step"])
            return {**row, "row": row, "costs": self._costs.of(self._run), "done": False}
        except UserError as error:
            return {"run_id": self._run.id, "done": True, "failed": str(error)}
        # this trial is over, the others are not; a process that is gone is Tune's to retry
        except Exception as error:
            self._healthy = False
            return {
                "run_id": self._run.id,
                "done": True,
                "failed": f"{type(error).__name__}: {error}",
            }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next run in the same process, unless the last one may have left it in a bad
        state.
        """
        self.cleanup()
        if self._healthy:
            self._take(new_config)
        return self._healthy

    def cleanup(self) -> None:
        """Leave the run where it is."""
        if self._executor is not None:
            self._executor.stop()
