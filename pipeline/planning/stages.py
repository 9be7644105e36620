"""Which stages there are, which of them would run, and why: as DVC sees it, or for parameters of an
ad-hoc call.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.errors import UserError
from pipeline.params import TASKS, Params
from pipeline.params.reading import read_tree
from pipeline.project.call import Call, words_of
from pipeline.project.dvcfile import refuse_unmade

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PlannedStage as DvcStage

CODE = ("models/", "pipeline/")
DATA = ("fetch", "shard")
SEARCHES = ("tune", "factorial")
"""Verbs that train many settings side by side, and their sections of the parameters."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage and what would become of it: it runs, its outputs come from DVC's cache, or nothing
    is to be done.

    `why` says in a few words what makes it run, `after` are the stages before it whose outputs
    change. `changes` says whether its own may: those of a run, or of an earlier one that DVC goes
    back to.
    """

    name: str
    state: Literal["runs", "cached", "current"]
    why: str = ""
    after: tuple[str, ...] = ()
    changes: bool = False

    @property
    def verb(self) -> str:
        """What is done: `classify` of `classify@dwnet_tiny`."""
        return self.name.partition("@")[0]

    @property
    def key(self) -> str:
        """What it is done to: `dwnet_tiny` of `classify@dwnet_tiny`; empty where a verb stands
        alone.
        """
        return self.name.partition("@")[2]


def stages_of(call: Call) -> list[PlannedStage]:
    """Return every stage in the order of dvc.yaml, and what `dvc repro` would do with it.

    For an ad-hoc call (`--params`, `--set`), which DVC knows nothing of, these are the stages that
    its parameters need; whether a training is finished then follows from its runs.

    Raises:
        UserError: there is no dvc.yaml, DVC cannot read the project or is at work in it, or a stage
            depends on what nothing makes.
    """
    if call.folders.root != call.project:
        return list(_needed(call))
    refuse_unmade(call.project)
    return _asked(call.project)


def command_of(call: Call, stage: PlannedStage) -> list[str]:
    """Return the command by which an ad-hoc call does a stage."""
    verb, *words = words_of(stage.name)
    options = [f"{name}={value}" for name, value in call.options]
    return [sys.executable, "-m", f"pipeline.{verb}", *words, *options]


def _needed(call: Call) -> Iterator[PlannedStage]:
    """Yield the stages that the parameters of an ad-hoc call need."""
    searches = _searches(call.params)
    for verb, dataset in product(DATA, sorted(_datasets(call.params))):
        yield PlannedStage(f"{verb}@{dataset}", "current" if _there(call, dataset) else "runs")

    for name in _expanded(call.project / "dvc.yaml", call.params):
        stage = PlannedStage(name, "runs")
        if stage.verb not in (*DATA, *SEARCHES) or stage.verb in searches:
            yield stage


def _datasets(params: Params) -> set[str]:
    """Return the data sets that some training reads."""
    tasks = {task for task in TASKS if getattr(params, task).variants}
    tasks |= {getattr(params, verb).task for verb in _searches(params)}
    return {getattr(params, task).dataset for task in tasks}


def _searches(params: Params) -> set[str]:
    """Return the searches that have anything to train."""
    design = params.factorial
    to_try = {"tune": params.tune.space, "factorial": design.group_channels or design.settings}
    return {verb for verb, settings in to_try.items() if settings}


def _there(call: Call, dataset: str) -> bool:
    """Return whether the shards are there, made from the data that the parameters name."""
    try:
        call.shards(dataset)
    except UserError:
        return False
    return True


def _expanded(path: Path, params: Params) -> list[str]:
    """Return the names of the stages in a dvc.yaml, `foreach` over a list or a section of the
    parameters.
    """
    try:
        written = read_tree(path)["stages"]
    except KeyError:
        raise UserError(f"{path} is not a pipeline: it has no stages") from None

    names = []
    for verb, body in written.items():
        each = body.get("foreach")
        if isinstance(each, str):
            each = _lookup(params, each.strip("${} "))
        names += [verb] if each is None else [f"{verb}@{key}" for key in each]
    return names


def _lookup(params: Params, dotted: str) -> Iterable[str]:
    value: Any = params
    for name in dotted.split("."):
        value = getattr(value, name)
    return list(value)


def _asked(project: Path) -> list[PlannedStage]:
    """Ask DVC, in this process: `dvc repro --dry` fails where nothing was ever run, and takes
    longer.
    """
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # it tells of each stage that it looks up

    try:
        repo = Repo(str(project), config={"core": {"no_scm": True}})
        try:
            with repo.lock:
                return _judged(repo)
        finally:
            repo.close()
    except NotDvcRepoError:
        raise UserError(f"{project} is not a DVC project; run from the project's folder") from None
    except LockError:
        raise UserError(
            "dvc is at work in this project; wait for its end, or plan from nothing: --params "
            "params.yaml"
        ) from None
    except DvcException as error:
        raise UserError(f"dvc cannot read this project: {' '.join(str(error).split())}") from None


def _judged(repo: "Repo") -> list[PlannedStage]:
    """Return the stages with what `dvc repro` would do, each judged after those that it depends
    on.
    """
    stages = {stage.addressing: stage for stage in repo.index.stages}
    makers = {name: sorted(_makers(stage, stages)) for name, stage in stages.items()}

    judged: dict[str, PlannedStage] = {}
    for name in TopologicalSorter(makers).static_order():
        judged[name] = _judge(repo, stages[name], [judged[maker] for maker in makers[name]], stages)
    return [judged[name] for name in stages]


def _makers(stage: "DvcStage", stages: dict[str, "DvcStage"]) -> set[str]:
    """Return the stages that make what a stage depends on."""
    needed = [dep.fs_path for dep in stage.deps if isinstance(dep.fs_path, str)]
    return {
        name
        for name, candidate in stages.items()
        if candidate is not stage
        and any(_overlap(out.fs_path, path) for out in candidate.outs for path in needed)
    }


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")


def _judge(
    repo: "Repo", stage: "DvcStage", before: list[PlannedStage], stages: dict[str, "DvcStage"]
) -> PlannedStage:
    """Return what would become of a stage, given what becomes of those before it."""
    name = stage.addressing
    status = stage.status().get(stage.addressing, [])
    after = tuple(earlier.name for earlier in before if earlier.changes)

    if not status and not after:
        return PlannedStage(name, "current")
    if not after and not stage.changed(
        allow_missing=True, upstream=[stages[earlier.name] for earlier in before]
    ):
        if not stage.changed_outs():
            # what it reads is missing, and comes back from the cache as it was
            return PlannedStage(name, "current")
        if stage.outs_cached():
            return PlannedStage(name, "cached")

    if not after and _ran_before(repo, stage):
        return PlannedStage(name, "cached", changes=True)

    why = _own_reason(status) or (f"after {after[0]}" if after else _seen(status))
    return PlannedStage(name, "runs", why, after, changes=True)


def _ran_before(repo: "Repo", stage: "DvcStage") -> bool:
    """Return whether a stage once ran with what it depends on now, so that DVC has kept its
    outputs.
    """
    from dvc.exceptions import DvcException

    try:
        stage.save_deps()  # in memory: earlier runs are looked up by what the dependencies are now,
        for out in stage.outs:
            out.clear()  # and not by what dvc.lock says of the last run
        repo.stage_cache.restore(stage, dry=True)
    except DvcException:  # it never ran like this, or a dependency is not there
        return False
    return True


def _own_reason(status: list[Any]) -> str:
    """Return what about a stage itself changed, in a few words; empty where only files that others
    make did.
    """
    if "always changed" in status or "changed command" in status or "changed checksum" in status:
        return "command"
    changed = {
        path: what for entry in status if isinstance(entry, dict) for path, what in _deps(entry)
    }

    for path, what in changed.items():
        if isinstance(what, dict):
            return f"params: {next(iter(what))}"
        if path.startswith(CODE):
            return f"code: {path}"
    return ""


def _seen(status: list[Any]) -> str:
    """Return which files differ from those of the last run: of a dependency, or else of an
    output.
    """
    inputs = [path for entry in status if isinstance(entry, dict) for path, _ in _deps(entry)]
    return f"input: {inputs[0]}" if inputs else "outputs missing"


def _deps(entry: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    dependencies: dict[str, Any] = entry.get("changed deps", {})
    return dependencies.items()
