"""What every stage command shares: its options, its folders, and how it fails.

`python -m pipeline.<verb> [names] [--params FILE] [--set a.b.c=value]... [--out DIR]`
"""

import argparse
import io
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import environment, faults, lifeline, records
from pipeline.errors import DiskFull, UserError, discreet, disk_full, shortened
from pipeline.locks import held
from pipeline.params import Params, load

SAME_REQUEST_S = 1.0


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
            for name in sorted(set(names)):  # a name that was given twice would wait for itself
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
        again = f"run: {self.command('fetch', dataset)} && {self.command('shard', dataset)}"
        inventory = folder.parents[1] / "raw" / f"{dataset}.json"
        found = records.read(inventory, records.Inventory)
        if not (folder / "manifest.json").exists() or found is None:
            raise UserError(f"{folder} has no shards, or {inventory} does not say of what; {again}")
        asked, made = getattr(self.params.data, dataset).model_dump(mode="json"), found["request"]
        if made != asked:
            wrong = next(key for key in {**asked, **made} if made.get(key, ...) != asked.get(key, ...))
            values = [shortened(discreet(str(part.get(wrong))), 200) for part in (made, asked)]
            what = f"{folder} was made with data.{dataset}.{shortened(wrong)}: {values[0]}, not {values[1]}"
            raise UserError(f"{what}; {again}")
        return folder

    def command(self, verb: str, *words: str) -> str:
        """Return the command of a stage with this call's options, to be pasted into a shell; secrets are left out."""
        changes = [("--set", item) for item in self.args.set]
        options = [("--params", self.args.params), *changes, ("--out", self.args.out)]
        return shell_line("python", "-m", f"pipeline.{verb}", *words, *(option for option in options if option[1]))


def shell_line(*words: str | tuple[str, str]) -> str:
    """Return words, and options with their values, as bash and zsh read them."""
    flat = []
    for word in words:
        name, value = word if isinstance(word, tuple) else ("", word)
        flat += [f"{name}={value}"] if name and value.startswith("-") else [name, value] if name else [value]
    return discreet(" ".join(_quoted(word) for word in flat))


def _quoted(word: str) -> str:
    """Quote a word where a shell would read more into it; zsh takes `=ls` for the path of ls."""
    return f"'{word}'" if word.startswith("=") and word == shlex.quote(word) else shlex.quote(word)


def words_of(stage: str) -> list[str]:
    """Return `classify` and `dwnet_tiny` for the DVC stage `classify@dwnet_tiny`, and any other word as it is."""
    address, sign, name = stage.rpartition("@")
    return [address.rpartition(":")[2], name] if sign else [stage]


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

    Being asked to end (Ctrl-C, SIGTERM, a closed terminal) is an end like any other, what is open is closed; the exit
    code is 128 and the signal's number: 130 after Ctrl-C, 143 after SIGTERM.
    """
    environment.prepare()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may hold what a terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    asked = _listen()
    code: object = 1
    try:
        code = _run(run)
    except SystemExit as error:  # inside one of Ray's calls an exit loses its code
        code = error.code
    except Exception:
        if not asked:
            raise  # otherwise it is what the same signal did to others, on whom this command called
    sys.exit(128 + asked[0] if asked else code)  # type: ignore[arg-type]


def _listen() -> list[int]:
    """Let the first request to end break off what is being done, and the next ones too, a moment later.

    Returns:
        The requests so far. `timeout` sends one twice, to its command and to the group, which is one request.
    """
    asked: list[int] = []
    last = 0.0

    def end(number: int, _: object) -> None:
        nonlocal last
        if asked and time.monotonic() - last < SAME_REQUEST_S:
            return
        last = time.monotonic()
        asked.append(number)
        lifeline.ending.set()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit

    for number in lifeline.ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup`, or a shell's background job
            signal.signal(number, end)
    return asked


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
