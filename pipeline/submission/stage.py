"""A stage that a cluster does as a job: its command, its name, what it reads and what it
publishes.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.files import digest
from pipeline.project.call import Call
from pipeline.runs.make import runs_of
from pipeline.runs.run import Run

if TYPE_CHECKING:
    from pipeline.search.search import Search

SCHEMES = ("http://", "https://")


@dataclass(frozen=True)
class SubmittedStage:
    """A stage's command, and what it has to do with files of the project.

    `name` is made from what decides the result, so that whoever asks for the same stage finds the
    same job. `reads` are files of weights; `publishes` are folders under `results/`.
    """

    name: str
    command: tuple[str, ...]
    dataset: str
    reads: tuple[Path, ...]
    publishes: tuple[str, ...]


def dashboard() -> str | None:
    """Return the address of the dashboard that RAY_ADDRESS names, without a slash at its end; None
    where it names none.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    return address.rstrip("/") if address.startswith(SCHEMES) else None


def training(call: Call, shards: Path) -> SubmittedStage | None:
    """Return the stage of `pipeline.train`; None where it is to be done here, or is done."""
    if dashboard() is None:
        return None

    task = call.args.task
    variants = call.args.variants
    runs = [run for variant in variants for run in runs_of(call, task, variant, shards)]
    adopted = ["--adopt", call.args.adopt] if call.args.adopt else []
    published = tuple(f"{task}/{variant}" for variant in variants)
    label = "-".join(("train", task, *variants))

    return _stage(label, ["train", task, *variants, *adopted], runs, published)


def search(call: Call, verb: str, submitted: "Search") -> SubmittedStage | None:
    """Return the stage of `pipeline.tune` or `pipeline.factorial`; None as for `training`."""
    if dashboard() is None:
        return None
    return _stage(
        verb, [verb], [trial.run for trial in submitted.trials], (verb,), submitted.journal().id
    )


def _stage(
    label: str,
    command: list[str],
    runs: list[Run],
    publishes: tuple[str, ...],
    decided: str | None = None,
) -> SubmittedStage | None:
    if all(run.finished() is not None for run in runs):
        return None

    ids = sorted({run.id for run in runs})
    return SubmittedStage(
        name=f"{_plain(label)}-{digest([decided, ids])[:12]}",
        command=tuple(command),
        dataset=runs[0].shards.name,
        reads=tuple(_unique(run.init_from for run in runs)),
        publishes=publishes,
    )


def _unique(paths: Iterable[Path | None]) -> list[Path]:
    return list(dict.fromkeys(path for path in paths if path is not None))


def _plain(label: str) -> str:
    """Return a label as a name of Ray's may be: it stands in URLs and in names of files."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in label)[
        :60
    ]
