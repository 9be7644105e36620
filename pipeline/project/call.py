"""One call of a command: its parameters, and the folders that it reads and writes."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core import environment, failpoints, records
from pipeline.core.errors import UserError, discreet, shortened
from pipeline.core.locks import held
from pipeline.core.shell import shell_line
from pipeline.params import TASKS, Params


@dataclass(frozen=True)
class Folders:
    """Where a call reads and writes: the project itself, or a root of its own for an ad-hoc
    call.
    """

    root: Path

    def raw(self, dataset: str) -> Path:
        """Return the inventory that fetch writes."""
        return self.root / "data" / "raw" / f"{dataset}.json"

    def shards(self, dataset: str) -> Path:
        """Return the folder of shards and their manifest."""
        return self.root / "data" / "shards" / dataset

    def dates(self, dataset: str) -> Path:
        """When fetch found each raw file to be written last; scratch, like the runs."""
        return self.root / "runs" / "fetched" / f"{dataset}.json"

    def lock(self, name: str) -> Path:
        """Return the lock of one stage; scratch, like the runs."""
        return self.root / "runs" / "locks" / name

    def results(self, *parts: str) -> Path:
        """Return what a stage publishes."""
        return self.root.joinpath("results", *parts)


@dataclass(frozen=True)
class Call:
    """One call of a stage command."""

    args: argparse.Namespace
    params: Params
    project: Path
    folders: Folders

    @contextmanager
    def alone(self, verb: str, *names: str) -> Iterator[None]:
        """Be the only process that does this for this root, e.g.

        `shard` of `imagenet`; others wait for their turn.
        """
        with ExitStack() as locks:
            for name in sorted(set(names)):  # a name that was given twice would wait for itself
                locks.enter_context(held(self.folders.lock(f"{verb}-{name}"), f"{verb} {name}"))
            failpoints.reach("stage.begun", stage=f"{verb}@{name}")
            yield
            failpoints.reach("stage.done", stage=f"{verb}@{name}")

    def source(self, path: Callable[[Folders], Path]) -> Path:
        """Return an input: the ad-hoc root's own where it was made, else what the project
        publishes.
        """
        local = path(self.folders)
        return local if local.exists() else path(Folders(self.project))

    def shards(self, dataset: str) -> Path:
        """Return the folder of a data set's shards, after checking that these parameters' data are
        in it.

        Raises:
            UserError: where the shards are missing, or were made from other data than the
                parameters name.
        """
        manifest = self.source(lambda folders: folders.shards(dataset) / "manifest.json")
        folder = manifest.parent
        again = f"run: {self.sharding(dataset)}"
        inventory = folder.parents[1] / "raw" / f"{dataset}.json"
        record = records.read(inventory, records.Inventory)

        if manifest.exists() and record is None and environment.in_shipped_job():
            return folder  # taken from `cluster.shards`, which knows nothing of what was asked for
        if not manifest.exists() or record is None:
            raise UserError(f"{folder} has no shards, or {inventory} does not say of what; {again}")

        requested = getattr(self.params.data, dataset).model_dump(mode="json")
        recorded = record["request"]
        if recorded != requested:
            wrong = next(
                key
                for key in {**requested, **recorded}
                if recorded.get(key, ...) != requested.get(key, ...)
            )
            values = [
                shortened(discreet(str(section.get(wrong))), 200)
                for section in (recorded, requested)
            ]
            what = (
                f"{folder} was made with data.{dataset}.{shortened(wrong)}: {values[0]}, not "
                f"{values[1]}"
            )
            raise UserError(f"{what}; {again}")

        return folder.resolve()

    def sharding(self, dataset: str) -> str:
        """Return the commands that make a data set's shards anew, with this call's options."""
        return f"{self.command('fetch', dataset)} && {self.command('shard', dataset)}"

    def again(self, *stages: str, force: bool = False) -> str:
        """Return the command that makes stages anew, named as dvc.yaml does: DVC's for the project
        itself, else this call's own.
        """
        if self.folders.root != self.project:
            return " && ".join(self.command(*words_of(stage)) for stage in stages)
        return repro(*stages, force=force)

    def command(self, verb: str, *words: str) -> str:
        """Return the command of a stage with this call's options, to be pasted into a shell;
        secrets are left out.
        """
        return shell_line("python", "-m", f"pipeline.{verb}", *words, *self.options)

    @property
    def options(self) -> list[tuple[str, str]]:
        """The options of this call, each with its value."""
        changes = [("--set", item) for item in self.args.set]
        options = [("--params", self.args.params), *changes, ("--out", self.args.out)]
        return [option for option in options if option[1]]


def repro(*stages: str, force: bool = False) -> str:
    """Return the command by which DVC makes stages, e.g. `classify@dwnet_tiny`."""
    options = ("--force", "--single-item") if force else ()
    return shell_line("dvc", "repro", *options, *stages)


def words_of(stage: str) -> list[str]:
    """Return a stage's command and what follows it: `train classify dwnet` of `classify@dwnet`."""
    verb, _, key = stage.partition("@")
    names = [key] if key else []
    return ["train", verb, *names] if verb in TASKS else [verb, *names]
