"""What every stage command shares: its options, its folders, and how it fails.

`python -m pipeline.<verb> [names] [--params FILE] [--set a.b.c=value]... [--out DIR]`
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import environment, faults, lifeline
from pipeline.errors import DiskFull, UserError, discreet, disk_full
from pipeline.locks import held
from pipeline.params import Params, load


@dataclass(frozen=True)
class Folders:
    """Where a call reads and writes: the project itself, or a root of its own for an ad-hoc call."""

    root: Path

    def raw(self, dataset: str) -> Path:
        """The inventory that fetch writes."""
        return self.root / "data" / "raw" / f"{dataset}.json"

    def shards(self, dataset: str) -> Path:
        """The folder of shards and their manifest."""
        return self.root / "data" / "shards" / dataset

    def dates(self, dataset: str) -> Path:
        """When fetch found each raw file to be written last; scratch, like the runs."""
        return self.root / "runs" / "fetched" / f"{dataset}.json"

    def lock(self, name: str) -> Path:
        """The lock of one stage; scratch, like the runs."""
        return self.root / "runs" / "locks" / name

    def results(self, *parts: str) -> Path:
        """What a stage publishes."""
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
        """Be the only process that does this for this root, e.g. `shard` of `imagenet`; others wait for their turn."""
        with ExitStack() as locks:
            for name in sorted(names):
                locks.enter_context(held(self.folders.lock(f"{verb}-{name}"), f"{verb} {name}"))
            faults.reach("stage.begun", stage=f"{verb}@{name}")
            yield
            faults.reach("stage.done", stage=f"{verb}@{name}")

    def source(self, path: Callable[[Folders], Path]) -> Path:
        """Return an input: the ad-hoc root's own where it was made, else what the project publishes."""
        own = path(self.folders)
        return own if own.exists() else path(Folders(self.project))

    def shards(self, dataset: str) -> Path:
        """Return the folder of a data set's shards, after checking that these parameters' data are in it.

        Raises:
            UserError: where the shards are missing, or were made from other data than the parameters name.
        """
        folder = self.source(lambda folders: folders.shards(dataset) / "manifest.json").parent
        options = "".join(f" --{name} {value}" for name, value in self._options())
        again = f"run: python -m pipeline.fetch {dataset}{options} && python -m pipeline.shard {dataset}{options}"
        inventory = folder.parents[1] / "raw" / f"{dataset}.json"
        if not (folder / "manifest.json").exists() or not inventory.exists():
            raise UserError(f"{folder} has no shards; {again}")
        asked = getattr(self.params.data, dataset).model_dump(mode="json")
        made = json.loads(inventory.read_text())["request"]
        if made != asked:
            wrong = next(key for key in asked if made.get(key) != asked[key])
            what = f"{folder} was made with data.{dataset}.{wrong}: {made.get(wrong)}, not {asked[wrong]}; {again}"
            raise UserError(discreet(what))
        return folder

    def _options(self) -> list[tuple[str, str]]:
        given = [("params", self.args.params)] if self.args.params else []
        return [
            *given,
            *(("set", item) for item in self.args.set),
            *([("out", self.args.out)] if self.args.out else []),
        ]


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser with the options that every stage takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--params", metavar="FILE", help="another params file (default: params.yaml)")
    made.add_argument(
        "--set", metavar="a.b.c=value", action="append", default=[], help="change one parameter; repeatable"
    )
    made.add_argument(
        "--out", metavar="DIR", help="write under DIR (default with --params or --set: adhoc/<params name>/)"
    )
    return made


def call(args: argparse.Namespace) -> Call:
    """Validate the parameters and choose the folders; end with the `dvc` or session that started it."""
    lifeline.follow_callers()
    project = Path.cwd()
    path = Path(args.params or "params.yaml")
    params = load(path, args.set)
    adhoc = args.params is not None or bool(args.set)
    root = Path(args.out) if args.out else project / "adhoc" / path.stem if adhoc else project
    if adhoc and root.resolve() == project:
        raise UserError("--out names the project itself, where only calls without --params and --set may write")
    return Call(args, params, project, Folders(root.resolve()))


def main(run: Callable[[], None]) -> None:
    """Run a command; bad input ends it with one sentence and exit code 2 (a full disk: 1), never a traceback.

    Being asked to end (SIGTERM) is an end like any other, what is open is closed; its exit code is 143, Ctrl-C's 130.
    """
    environment.prepare()
    asked = []

    def end(number: int, _: object) -> None:
        asked.append(number)
        sys.exit()

    signal.signal(signal.SIGTERM, end)
    try:
        code = _run(run)
    except SystemExit as error:  # inside one of Ray's calls an exit loses its code
        code = error.code
    sys.exit(128 + asked[0] if asked else code)


def _run(run: Callable[[], None]) -> int | str | None:
    """Run a command and return its exit code."""
    try:
        run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DiskFull) else 2
    except OSError as error:
        if (full := disk_full(error)) is None:
            raise
        print(f"error: {full}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
