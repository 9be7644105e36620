"""MLflow for many trials: the search is a run, each trial a child of it, with the values that set
it apart as params.

The driver hears of every evaluation anyway, so one process of the driver's is the only one that
writes.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import failpoints
from pipeline.project.call import Call
from pipeline.project.dvcfile import stage_digest
from pipeline.project.git import commit
from pipeline.search.journal import TrialResult
from pipeline.shards.manifest import Manifest
from pipeline.tracking.database import connect
from pipeline.tracking.tracker import (
    PARENT,
    Tracker,
    end,
    end_abandoned,
    find_or_make,
    log_params,
    log_rows,
    uri_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.search.search import Search, Trial

STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


@dataclass(frozen=True)
class SearchPlace:
    """Where one MLflow run belongs, and what it is called."""

    uri: str
    storage: Path
    experiment: str
    name: str
    tags: dict[str, str]
    params: dict[str, Any]


@dataclass
class SearchRecorder:
    """The driver's hand on the search's MLflow runs; what is asked for is done in order, beside the
    driver.
    """

    tracker: Tracker
    search: "Search"
    parent: str
    tags: dict[str, str]
    asked: list["Future[Any]"] = field(default_factory=list)

    def rows(self, tried: "Trial", rows: list[dict[str, Any]]) -> None:
        """Record evaluations of a trial; its run is made with the first of them, which may be
        none.
        """
        self.asked.append(self.tracker.submit(_record, self._place(tried), rows))

    def ending(self, tried: "Trial", ending: TrialResult) -> None:
        """Record how a trial ended, its curve complete."""
        self.asked.append(self.tracker.submit(_end, self._place(tried), ending))

    def ids(self, tried: "list[Trial]") -> dict[str, str]:
        """Return the MLflow run of each run id, after all that was asked for is done."""
        places = {one.run.id: self._place(one) for one in tried}
        return {key: self.tracker.submit(_child, place).result() for key, place in places.items()}

    def wait(self) -> None:
        """Wait until all is done; raise what went wrong."""
        while self.asked:
            self.asked.pop(0).result()

    def _place(self, tried: "Trial") -> SearchPlace:
        entry = tried.run.section.variants[tried.run.variant]
        named = {
            "variant": tried.run.variant,
            "mixer": entry.mixer,
            "run_id": tried.run.id,
            PARENT: self.parent,
        }
        params = {**tried.values, "seed": tried.run.seed}
        tags = {**self.tags, **named}
        return SearchPlace(
            self.tracker.uri, tried.run.folder.parent, self.search.name, tried.label, tags, params
        )


@contextmanager
def recorded(call: Call, search: "Search", identifier: str) -> Iterator[SearchRecorder]:
    """Open the search in MLflow; after the block it is finished, or failed where the block raised.

    Raises:
        UserError: MLflow does not answer.
    """
    uri = uri_of(call.params.tracking, call.project)
    tags = _tags(call, search)
    shown = {**search.shown, "trials": len(search.tried)}
    storage = search.tried[0].run.folder.parent
    place = SearchPlace(
        uri, storage, search.name, search.label, {**tags, "run_id": f"searches/{identifier}"}, shown
    )
    with Tracker(uri) as tracker:
        recorder = SearchRecorder(tracker, search, tracker.submit(_open, place).result(), tags)
        status = "FAILED"
        try:
            yield recorder
            recorder.wait()
            status = "FINISHED"
        finally:
            failpoints.reach("search.closing")
            with suppress(
                BrokenProcessPool
            ):  # killed together with this process: the next command closes
                tracker.submit(_close, place, recorder.parent, status).result()


def _tags(call: Call, search: "Search") -> dict[str, str]:
    head, dirty = commit(call.project)
    own = call.folders.root == call.project  # an ad-hoc call is no stage
    tags = {
        "stage": search.name,
        "stage_digest": stage_digest(call.project, search.name) if own else None,
        "git_commit": head,
        "git_dirty": str(dirty).lower(),
        "manifest": Manifest.load(search.tried[0].run.shards).digest,
    }
    return {name: str(value) for name, value in tags.items() if value}


@lru_cache(maxsize=1)
def _client(uri: str) -> "MlflowClient":
    return connect(uri)


def _open(place: SearchPlace) -> str:
    client = _client(place.uri)
    identifier = find_or_make(client, place.storage, place.experiment, place.name, place.tags)
    log_params(client, identifier, place.params)
    end_abandoned(client, place.experiment, place.storage)
    return identifier


def _child(place: SearchPlace) -> str:
    """Return a trial's MLflow run, made where it is missing."""
    return _children(place.uri, place.experiment, place.tags[PARENT]).get(
        place.tags["run_id"]
    ) or _begin(place)


@lru_cache(maxsize=1)
def _children(uri: str, experiment: str, parent: str) -> dict[str, str]:
    """Return the MLflow run of each trial that the search has: asked for once, then kept up to date
    by `_begin`.
    """
    client = _client(uri)
    place = client.get_experiment_by_name(experiment).experiment_id
    found: dict[str, str] = {}
    token = None
    while True:
        page = client.search_runs([place], f"tags.`{PARENT}` = '{parent}'", page_token=token)
        found |= {run.data.tags["run_id"]: run.info.run_id for run in page}
        if (token := page.token) is None:
            return found


def _begin(place: SearchPlace) -> str:
    client = _client(place.uri)
    made = find_or_make(client, place.storage, place.experiment, place.name, place.tags)
    log_params(client, made, place.params)
    _children(place.uri, place.experiment, place.tags[PARENT])[place.tags["run_id"]] = made
    return made


def _record(place: SearchPlace, rows: list[dict[str, Any]]) -> None:
    client, identifier = _client(place.uri), _child(place)
    if client.get_run(identifier).info.status != "RUNNING":
        client.update_run(identifier, status="RUNNING")
    log_rows(client, identifier, rows)


def _end(place: SearchPlace, ending: TrialResult) -> None:
    client, identifier = _client(place.uri), _child(place)
    run = client.get_run(identifier)
    if run.info.status == STATUS[ending.state] and run.data.tags.get("state") == ending.state:
        return  # recorded by an earlier command
    log_rows(client, identifier, ending.rows)
    for name, value in ending.costs.items():
        if name not in run.data.metrics:
            client.log_metric(identifier, name, value)
    client.set_tag(identifier, "state", ending.state)
    if ending.error:
        client.set_tag(identifier, "error", ending.error[:5000])
    end(client, identifier, place.storage, STATUS[ending.state])


def _close(place: SearchPlace, parent: str, status: str) -> None:
    """End the search's run; a trial that nobody trains any more does not stay behind as running."""
    client = _client(place.uri)
    for identifier in _children(place.uri, place.experiment, parent).values():
        if client.get_run(identifier).info.status == "RUNNING":
            end(client, identifier, place.storage, "KILLED")
    end(client, parent, place.storage, status)
