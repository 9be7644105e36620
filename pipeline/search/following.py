"""What the driver does as it hears of the trials: note it, record it, and say how far the search
is.
"""

import time
from typing import Any

from ray.tune import Callback

from pipeline.core import failpoints
from pipeline.core.progress import say
from pipeline.core.units import clock
from pipeline.search.journal import EndState, Journal
from pipeline.search.search import Search, Trial, total_in
from pipeline.search.tracking import SearchRecorder


class Following(Callback):
    """Ray Tune calls this in the driver's process."""

    def __init__(
        self,
        search: Search,
        unfinished: list[Trial],
        journal: Journal,
        recorder: SearchRecorder,
        at_once: int,
    ) -> None:
        self.search = search
        self.journal = journal
        self.recorder = recorder
        self.known = {trial.run.id: trial for trial in unfinished}
        self.left = dict(self.known)
        self.rows: dict[str, list[dict[str, Any]]] = {trial.run.id: [] for trial in unfinished}
        self.costs: dict[str, dict[str, int]] = {}
        self.last: dict[str, tuple[EndState, str]] = {}
        self.epochs = {trial.run.id: total_in(trial.run, "epoch") for trial in unfinished}
        self.begun = time.monotonic()

        before = (
            f", {len(search.trials) - len(unfinished)} of them done before"
            if len(unfinished) < len(search.trials)
            else ""
        )

        say(f"{len(search.trials)} trials{before}; {at_once} at a time")

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything behind: Ray Tune writes itself a copy to restore from, but the journal
        restores a search.
        """
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's run in MLflow."""
        self.recorder.trial(self._of(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an evaluation, or the last word of a trial."""
        tried = self._of(trial)
        if result.get("failed"):
            self.last[tried.run.id] = "failed", result["failed"]
        elif result.get("finished"):
            self.last[tried.run.id] = "finished", ""
        else:
            self._row(tried, result["row"], result["costs"])

    def _row(self, trial: Trial, row: dict[str, Any], costs: dict[str, int]) -> None:
        """Take an evaluation; a process that started again begins with those that are known."""
        rows = self.rows[trial.run.id]
        self.costs[trial.run.id] = costs
        if rows and row["step"] <= rows[-1]["step"]:
            return

        rows.append(row)
        failpoints.reach(
            "search.recorded", trial=len([seen for seen in self.rows.values() if seen])
        )

        if row["epoch"] < self.epochs[trial.run.id]:
            metric = self.search.metric
            reached = f"epoch {row['epoch']:g} of {self.epochs[trial.run.id]:g}"
            say(f"{trial.label}: {metric} {row[metric]:.2f} at {reached}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note how a trial ended: where it said nothing last, the scheduler stopped it."""
        tried = self._of(trial)
        self._end(tried, *self.last.get(tried.run.id, ("stopped", "")))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial's process died too often."""
        lines = str(trial.get_error() or "its process died").strip().splitlines()
        self._end(self._of(trial), "failed", lines[-1] if lines else "its process died")

    def _end(self, trial: Trial, state: EndState, error: str) -> None:
        identifier = trial.run.id
        self.journal.write(
            trial.run, state, self.rows[identifier], self.costs.get(identifier, {}), error
        )
        failpoints.reach("search.noted", state=state)
        if (ending := self.journal.ending(trial.run)) is not None:
            self.recorder.trial(trial, ending)

        del self.left[identifier]
        say(f"{trial.label}: {self._result(trial, state, error)}; {self._left()}")

    def _result(self, trial: Trial, state: EndState, error: str) -> str:
        rows = self.rows[trial.run.id]
        metric = self.search.metric
        reached = (
            f"{metric} {rows[-1][metric]:.2f} after {rows[-1]['epoch']:g} epochs"
            if rows
            else "no evaluation"
        )

        return f"{state}, {error}" if state == "failed" else f"{state}, {reached}"

    def _left(self) -> str:
        """Say how many trials are left and how long they may take, at most, by the epochs trained
        so far.
        """
        if not self.left:
            return "that was the last one"

        done = sum(rows[-1]["epoch"] for rows in self.rows.values() if rows)
        todo = sum(
            self.epochs[identifier]
            - (self.rows[identifier][-1]["epoch"] if self.rows[identifier] else 0)
            for identifier in self.left
        )
        seconds = (time.monotonic() - self.begun) / done * todo if done else None

        return f"{len(self.left)} left" + (
            f", about {clock(seconds)}" if seconds is not None else ""
        )

    def _of(self, trial: Any) -> Trial:
        return self.known[trial.config["run_id"]]
