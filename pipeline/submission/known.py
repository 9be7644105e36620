"""All that is known here of this project's trainings: submitted jobs, and runs in its store."""

import json
import os
import signal
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.cluster.progress import RunProgress
from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.core.locks import Busy, held
from pipeline.core.progress import say
from pipeline.project.call import Call
from pipeline.runs.make import home_of_runs
from pipeline.submission.client import Dashboard
from pipeline.submission.run import FETCHED, PENDING, attach, notes_of, take


class Known(ABC):
    """A job or a run, by its name."""

    name: str
    when: float

    @property
    @abstractmethod
    def state(self) -> str:
        """How it stands, in a word or two."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What it does."""

    def status(self) -> None:
        """Print how it stands."""
        print(f"{self.name}: {self.state}; {self.what}")

    @abstractmethod
    def logs(self) -> None:
        """Print what it printed."""

    @abstractmethod
    def attach(self) -> None:
        """Follow it to its end."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end."""


@dataclass(frozen=True)
class Job(Known):
    """A job that was submitted from here."""

    name: str
    when: float
    call: Call
    notes: Path
    note: dict[str, Any]

    @property
    def state(self) -> str:
        """As the cluster says, or that its results are here."""
        if (self.notes / FETCHED).exists():
            return "fetched"
        try:
            job = self._cluster().find(self.name)
        except UserError:
            return "unknown: the cluster does not answer"
        return "gone with its cluster" if job is None else str(job.status.value).lower()

    @property
    def what(self) -> str:
        """The command, and where it runs."""
        return f"{' '.join(self.note['command'])}, on {self.note['address']}"

    def logs(self) -> None:
        """Print what is kept of its log, or what the cluster has."""
        log = self.notes / "driver.log"
        if (self.notes / FETCHED).exists() and log.exists():
            print(log.read_text(), end="")
        else:
            print(self._cluster().log(self.name), end="")

    def attach(self) -> None:
        """Follow it, and publish what it brings."""
        cluster = self._cluster()
        job = attach(cluster, self.name, self.notes)
        take(self.call, cluster, job, self.notes, self.note["publishes"])

    def stop(self) -> None:
        """Ask the cluster to end it."""
        self._cluster().stop(self.name)
        say(f"{self.name} was asked to end; what is trained is kept")

    def _cluster(self) -> Dashboard:
        return _connected(self.note["address"], self.call.params.cluster.allow_open)


@dataclass(frozen=True)
class LocalRun(Known):
    """A run in the store of runs."""

    name: str
    when: float
    folder: Path

    @property
    def state(self) -> str:
        """Finished, who trains it, or that it waits to be continued."""
        if (self.folder / "finished.json").exists():
            return "finished"
        try:
            with held(self.folder / "lock", "the training", wait=False):
                return "unfinished"
        except Busy:
            return "running"

    @property
    def what(self) -> str:
        """Which training it is."""
        decided = self._decided()
        options = [f"{name}={value}" for name, value in decided.get("overrides", {}).items()]
        words = [decided.get("task", "unknown"), decided.get("model", ""), *options]
        return f"{' '.join(words)}, seed {decided.get('seed', 'unknown')}"

    def status(self) -> None:
        """Print how it stands, and how far it is."""
        super().status()
        progress = self._progress()
        for line in progress.new()[-1:]:
            print(progress.text(line))

    def logs(self) -> None:
        """Print how far it was, as often as it said."""
        progress = self._progress()
        for line in progress.new():
            print(progress.text(line))

    def attach(self) -> None:
        """Print how far it is until nobody trains it any more."""
        import time

        progress = self._progress()
        while True:
            running = self.state == "running"
            for line in progress.new():
                say(progress.text(line))
            if not running:
                return self.status()
            time.sleep(1.0)

    def stop(self) -> None:
        """Ask the command that trains it to end, if it runs on this machine."""
        if self.state != "running":
            raise UserError(f"{self.name} is not being trained")
        holder = json.loads((self.folder / "lock").read_text())
        if holder["host"] != socket.gethostname():
            raise UserError(f"{self.name} is trained on {holder['host']}; stop it there")
        os.kill(holder["pid"], signal.SIGTERM)
        say(f"process {holder['pid']} was asked to end; what is trained is kept")

    def _progress(self) -> RunProgress:
        files = self.folder / "progress.jsonl", self.folder / "metrics.jsonl"
        return RunProgress(*files, self._decided().get("task"))

    def _decided(self) -> dict[str, Any]:
        return records.read(self.folder / "decides.json", records.Decided) or {}


def known(call: Call) -> list[Known]:
    """Return all jobs and runs, the newest first."""
    jobs: list[Known] = []
    for notes in notes_of(call.folders.root).glob("*"):
        for file in (notes / PENDING, notes / FETCHED):
            if file.exists():
                note = json.loads(file.read_text())
                jobs.append(Job(notes.name, note["submitted"], call, notes, note))

    runs: list[Known] = [
        LocalRun(file.parent.name, file.stat().st_mtime, file.parent)
        for file in home_of_runs(call).glob("*/decides.json")
    ]

    return sorted([*jobs, *runs], key=lambda entry: entry.when, reverse=True)


@cache
def _connected(address: str, allow_open: bool) -> Dashboard:
    return Dashboard(address, allow_open)
