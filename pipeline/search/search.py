"""A search: what is tried, what it is judged by, and how it ended."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.params import Task
from pipeline.params.searches import Asha
from pipeline.project.call import Call
from pipeline.runs.make import file_to_start_from, make_runs
from pipeline.runs.run import Run
from pipeline.search.journal import Journal, TrialResult
from pipeline.search.settings import Setting


@dataclass(frozen=True)
class Trial:
    """A trial: a run, and the values that set it apart."""

    run: Run
    values: dict[str, Any]

    @property
    def label(self) -> str:
        """How people see it in logs and in MLflow."""
        return " ".join(
            f"{key}={value}" for key, value in {**self.values, "seed": self.run.seed}.items()
        )


def runs_of(
    call: Call, task: str, setting: Setting, seeds: tuple[int, ...], shards: Path
) -> list[Run]:
    """Return the runs of a setting, one a seed.

    Raises:
        UserError: the file that it starts from is not there.
    """
    start = setting.recipe.init_from
    init = None if start is None else file_to_start_from(call, start, setting.label)
    return make_runs(call, task, setting.section, setting.name, seeds, shards, init)


@dataclass(frozen=True)
class Search:
    """What is to be tried, and how.

    `name` is the MLflow experiment; `shown` what its run says about the whole.
    """

    name: str
    label: str
    trials: list[Trial]
    metric: str
    mode: str
    workers: int
    concurrent: int | None = None
    asha: Asha | None = None
    shown: dict[str, Any] = field(default_factory=dict)

    def journal(self) -> Journal:
        """Open what this search remembers; whoever asks how a trial ended asks here."""
        decides = [
            sorted(trial.run.id for trial in self.trials),
            self.asha and self.asha.model_dump(),
            self.shown,
        ]
        return Journal(self.trials[0].run.folder.parent, decides)

    def runs_of(self, section: Task) -> list[Run]:
        """Return the runs of the setting that `section` holds, one a seed."""
        return [trial.run for trial in self.trials if trial.run.section is section]


@dataclass(frozen=True)
class SearchResult:
    """How every trial ended, by run id, and the MLflow runs; None where MLflow missed one."""

    endings: dict[str, TrialResult]
    mlflow_run: str | None
    mlflow_runs: dict[str, str | None]


def length(run: Run, unit: str) -> float:
    """Return how long a run is in epochs or steps, as its last evaluation will say."""
    from pipeline.loading.hold_out import open_split

    steps_per_epoch = (
        len(open_split(run.shards, "train", run.recipe.hold_out, run.cache))
        // run.recipe.global_batch
    )
    steps = max(1, run.recipe.duration.in_steps(max(1, steps_per_epoch)))
    return float(steps) if unit == "step" else steps / max(1, steps_per_epoch)
