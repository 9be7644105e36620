"""From parameters to runs: what decides each one's result, and where it keeps its state."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.core.errors import UserError, nearest
from pipeline.params import TASKS, Task
from pipeline.params.registry import classifier
from pipeline.project.call import Call
from pipeline.runs.identity import decides, run_id
from pipeline.runs.run import Run
from pipeline.runs.stored import StoredRun, local_folder
from pipeline.shards.manifest import Manifest
from pipeline.shards.remote.cache import ShardCache


def make_runs(
    call: Call,
    task: str,
    section: Task,
    variant: str,
    seeds: tuple[int, ...],
    shards: Path,
    init: Path | None = None,
) -> list[Run]:
    """Return the runs of a section's variant, one a seed; `init` is the file of weights that they
    start from.
    """
    storage = call.params.cluster.storage
    home = home_of_runs(call)
    manifest = Manifest.load(shards).content
    runs = []

    for seed in seeds:
        decided = decides(call.project, task, section, variant, seed, manifest, init)
        identifier = run_id(decided)
        workers = call.params.cluster.loader_workers
        folder = home / identifier
        cache = ShardCache.of(call.params.cluster, shards)

        runs.append(
            Run(
                id=identifier,
                task=task,
                variant=variant,
                seed=seed,
                section=section,
                shards=shards,
                folder=folder,
                loader_workers=workers,
                init_from=init,
                decides=decided,
                cache=cache,
                stored=StoredRun(storage, identifier) if "://" in storage else None,
            )
        )

    return runs


def home_of_runs(call: Call) -> Path:
    """Return the folder of this machine in which runs have theirs, links resolved."""
    storage = call.params.cluster.storage
    by_url = "://" in storage
    home = local_folder(storage) if by_url else call.project / Path(storage).expanduser()
    return home.resolve()


def file_to_start_from(call: Call, name: str, where: str, advice: str = "") -> Path:
    """Return the file of weights that a recipe's `init_from` names, by a path within the project or
    from the root.

    Raises:
        UserError: it is not there; `where` says who asks for it.
    """
    path = (call.project / Path(name).expanduser()).resolve()
    if not path.is_file():
        raise UserError(f"{where}: init_from {path} is not a file{advice}")
    return path


def refuse_empty(call: Call, shards: Path, used: Iterable[str]) -> None:
    """Stop where a split that is trained on or judged by has not one object or labelled pixel that
    counts.

    Args:
        call: whose commands would make the shards anew.
        shards: the folder of the manifest.
        used: splits, or `held_out` for a part of `train`.

    Raises:
        UserError: naming the split, and what became of its annotations.
    """
    manifest = Manifest.load(shards)

    for split, entry in manifest.splits.items():
        names = {split, "held_out"} if split == "train" else {split}
        if names & set(used) and entry.targets is not None and not entry.targets.seen:
            raise UserError(
                f"{shards}: nothing in {split} can be seen or judged: "
                f"{entry.targets.words(manifest.unit)}; mend the annotations, then run: "
                f"{call.sharding(manifest.dataset)}"
            )


def check_shards(call: Call, shards: Path, runs: list[Run]) -> list[str]:
    """Check, before anything starts, that the shards are what their manifest says.

    By URL that is what can be seen without reading them; each is hashed as it arrives.

    Returns:
        advice for reading them, a sentence each; nothing is wrong without it.

    Raises:
        UserError: naming every damaged or missing file, or a split in which there is nothing to
            see.
    """
    from pipeline.shards.verify import verify, verify_remote

    cache = runs[0].cache
    if cache is None and (problems := verify(shards)):
        raise UserError(
            f"{shards} is damaged:\n  " + "\n  ".join(problems) + "\nrun the shard stage again"
        )

    refuse_empty(call, shards, {"train", *(run.recipe.evaluate_on for run in runs)})
    if cache is None:
        return []

    if problems := verify_remote(cache.remote, shards):
        wrong = "\n  ".join(problems)
        raise UserError(
            f"{cache.remote.shown()} does not hold the shards of {shards}:\n  {wrong}\nupload "
            "them again"
        )

    entry = Manifest.load(shards).splits["train"]
    return sorted({s for run in runs for s in cache.advice(entry.shards, run.recipe.shuffle_block)})


def section_of(call: Call, task: str) -> Task:
    """Return the section of a task.

    Raises:
        UserError: there is no such task.
    """
    if task not in TASKS:
        raise UserError(f"no task '{task}'; {nearest(task, TASKS)}")
    section: Task = getattr(call.params, task)
    return section


def runs_of(call: Call, task: str, variant: str, shards: Path) -> list[Run]:
    """Return the runs of a task's variant, one a seed."""
    section = section_of(call, task)
    init = _given_weights(call, task, variant)
    return make_runs(call, task, section, variant, section.seeds_of(variant), shards, init)


def _given_weights(call: Call, task: str, variant: str) -> Path | None:
    """Return the file of weights that a variant starts from.

    Raises:
        UserError: it is not there; the sentence says what would make it.
    """
    start = getattr(call.params, task).recipe_of(variant).init_from
    if start is None:
        return None

    where = f"{task}.variants.{variant}"
    if start != classifier():
        return file_to_start_from(call, start, where)

    published = call.source(
        lambda folders: folders.results(classifier(), variant, "model.safetensors")
    )

    command = call.command("train", classifier(), variant)
    advice = f"; run: {command}, or set {task}.recipe.init_from to null"
    return file_to_start_from(call, str(published), where, advice)
