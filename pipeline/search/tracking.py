"""MLflow for many trials: the search is a run, each trial a child of it, with the values that set
it apart as params.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core import failpoints
from pipeline.project.call import Call
from pipeline.search.journal import TrialEnding
from pipeline.tracking.about import origin_of, params_of
from pipeline.tracking.entry import Entry, EntryFile, State, end_abandoned, store_of
from pipeline.tracking.trainings import shipped

if TYPE_CHECKING:
    from pipeline.search.search import Search, SearchOutcome, Trial

STATUS: dict[str, State] = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


@dataclass(frozen=True)
class SearchRecorder:
    """What MLflow is to say of a search and its trials; nothing here waits for MLflow.

    `ready` waits for its first answer.
    """

    search: "Search"
    store: str
    file: EntryFile
    tags: dict[str, str]
    ready: Callable[[], None]

    def whole(self, status: State) -> None:
        """Write how the search as a whole stands."""
        earlier = self.file.read()
        now = int(time.time() * 1000)
        again = earlier is not None and earlier.store == self.store and earlier.begun is not None

        entry = Entry(
            store=self.store,
            experiment=self.search.command,
            run_id=f"searches/{self.file.folder.name}",
            name=self.search.label,
            status=status,
            tags=self.tags,
            params={**self.search.description, "trials": len(self.search.trials)},
            begun=earlier.begun if earlier is not None and again else now,
            ended=None if status == "RUNNING" else now,
        )

        self.file.write(entry)

    def trial(self, trial: "Trial", ending: TrialEnding | None = None) -> None:
        """Write how a trial stands: running, or how it ended."""
        variant = trial.run.section.variants[trial.run.variant]
        named = {"variant": trial.run.variant, "mixer": variant.mixer}
        entry = Entry(
            store=self.store,
            experiment=self.search.command,
            run_id=trial.run.id,
            name=self._name(trial),
            status="RUNNING",
            tags={**self.tags, **named, "search": self.file.folder.name},
            params={**params_of(trial.run), **trial.values},
            parent=self.file.key,
        )

        if ending is not None:
            entry = _ended(entry, ending)

        file = self._file(trial)
        if ending is not None and file.times(entry)[0] is None:  # it failed before its first step
            earlier = file.read()
            now = earlier.begun if earlier and earlier.begun else int(time.time() * 1000)
            entry = entry.model_copy(update={"begun": now, "ended": now})
        file.write(entry)

    def _name(self, trial: "Trial") -> str:
        """Return a trial's name, which begins with what tells it from the others."""
        named = [{**other.values, "seed": other.run.seed} for other in self.search.trials]
        setting = {**trial.values, "seed": trial.run.seed}
        apart = [key for key in setting if len({repr(values.get(key)) for values in named}) > 1]

        return " ".join(f"{key}={setting[key]}" for key in dict.fromkeys([*apart, *setting]))

    def mlflow_run(self) -> str | None:
        """Return the MLflow run of the search; None as long as MLflow missed it."""
        return self._noted(self.file)

    def mlflow_runs(self) -> dict[str, str | None]:
        """Return the MLflow run of each trial, by run id."""
        return {trial.run.id: self._noted(self._file(trial)) for trial in self.search.trials}

    def _noted(self, file: EntryFile) -> str | None:
        note = file.note(self.store)
        return None if note is None else note.run_id

    def _file(self, trial: "Trial") -> EntryFile:
        name = f"{self.search.command}-{self.file.folder.name}"
        return EntryFile(self.file.storage, trial.run.folder, name)


def _ended(entry: Entry, ending: TrialEnding) -> Entry:
    """Return a trial's entry with how it ended."""
    error = {"error": ending.error[:5000]} if ending.error else {}
    changed = {
        "status": STATUS[ending.state],
        "tags": {**entry.tags, "state": ending.state, **error},
        "metrics": {f"cost/{name}": float(value) for name, value in ending.costs.items()},
    }
    return entry.model_copy(update=changed)


def record_published(call: Call, search: "Search", outcome: "SearchOutcome", folder: Path) -> None:
    """Give a search's MLflow run what was published of it: its best trial, tables and pictures.

    What is not in MLflow is published all the same.
    """
    storage = search.trials[0].run.folder.parent
    file = EntryFile(storage, storage / "searches" / search.journal().id, search.command)
    entry = file.read()
    if entry is None:
        return

    metric = search.metric
    lasts = [
        (trial.label, ending.rows[-1][metric])
        for trial in search.trials
        if (ending := outcome.endings[trial.run.id]).state == "finished"
        and metric in ending.rows[-1]
    ]
    choose = max if search.mode == "max" else min
    best = choose(lasts, key=lambda last: last[1]) if lasts else None

    changed = {
        "artifacts": sorted(str(path) for path in folder.iterdir() if path.is_file()),
        "metrics": {} if best is None else {f"best/{metric}": best[1]},
        "tags": entry.tags if best is None else {**entry.tags, "best": best[0]},
    }

    file.write(entry.model_copy(update=changed))
    with shipped(call, storage, required=False, last=True):
        pass


@contextmanager
def recorded(call: Call, search: "Search", identifier: str) -> Iterator[SearchRecorder]:
    """Have a search recorded during the block; after it it is finished, or failed where the block
    raised.

    Raises:
        UserError: MLflow does not answer, and `tracking.required` says that it must.
    """
    storage = search.trials[0].run.folder.parent
    store = store_of(call.params.tracking, call.project)
    file = EntryFile(storage, storage / "searches" / identifier, search.command)

    with shipped(call, storage) as ready:
        recorder = SearchRecorder(
            search,
            store.name,
            file,
            origin_of(call, search.command, search.command, search.trials[0].run),
            ready,
        )
        recorder.whole("RUNNING")
        status: State = "FAILED"
        try:
            yield recorder
            status = "FINISHED"
        finally:
            failpoints.reach("search.closing")
            end_abandoned(storage)  # a trial that nobody trains any more
            recorder.whole(status)
