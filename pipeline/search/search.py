"""A search: what is tried, what it is judged by, and how it ended."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.params import Task
from pipeline.params.searches import Asha
from pipeline.project.call import Call
from pipeline.runs.make import file_to_start_from, make_runs
from pipeline.runs.run import Run
from pipeline.search.journal import Journal, TrialEnding
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


def runs_of_setting(
    call: Call, task: str, setting: Setting, seeds: tuple[int, ...], shards: Path
) -> list[Run]:
    """Return the runs of a setting, one a seed.

    Raises:
        UserError: the file that it starts from is not there.
    """
    start = setting.recipe.init_from
    init = None if start is None else file_to_start_from(call, start, setting.label)
    return make_runs(call, task, setting.section, setting.name, seeds, shards, init)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is to be tried, and how.

    Attributes:
        command: `tune` or `factorial`: the command, its section of params.yaml, its folder under
            results/, and the MLflow experiment.
        label: what people call it, in logs and as the name of its MLflow run.
        trials: every setting with every seed.
        metric: what trials are compared by.
        mode: `max` or `min`: which value of the metric is the better one.
        workers: how many train one trial together.
        concurrent: how many trials go on at once at most; None: as many as the cluster holds.
        asha: the rungs at which trials stop early; None: all go to their end.
        description: what tells it from other searches beside its trials and rungs: part of its
            journal's id, params of its MLflow run, and published with its results.
    """

    command: str
    label: str
    trials: list[Trial]
    metric: str
    mode: str
    workers: int
    concurrent: int | None = None
    asha: Asha | None = None
    description: dict[str, Any] = field(default_factory=dict)

    def journal(self) -> Journal:
        """Open what this search remembers; whoever asks how a trial ended asks here."""
        identity = [
            sorted(trial.run.id for trial in self.trials),
            self.asha and self.asha.model_dump(),
            self.description,
        ]
        return Journal(self.trials[0].run.folder.parent, identity)

    def runs_with(self, section: Task) -> list[Run]:
        """Return the runs of the setting that `section` was made for, one a seed.

        It is the very object that counts: two settings may be equal by value, and are two.
        """
        return [trial.run for trial in self.trials if trial.run.section is section]


@dataclass(frozen=True)
class SearchOutcome:
    """How every trial ended, by run id, and the MLflow runs; None where MLflow missed one."""

    endings: dict[str, TrialEnding]
    mlflow_run: str | None
    mlflow_runs: dict[str, str | None]


def total_in(run: Run, unit: str) -> float:
    """Return how long a run is in `unit`, `epoch` or `step`: what its last evaluation will say.

    It is `pipeline.training.setup.Setup.total`, for a run that is not opened for training.
    """
    from pipeline.loading.hold_out import open_split

    samples = len(open_split(run.shards, "train", run.recipe.hold_out, run.cache))
    # samples that do not fill one step are refused as the run starts
    steps_per_epoch = max(1, samples // run.recipe.global_batch)
    steps = run.recipe.duration.at_least_a_step(steps_per_epoch)
    return float(steps) if unit == "step" else steps / steps_per_epoch
