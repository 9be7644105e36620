"""Train a task's variant and publish the result: `python -m pipeline.train classify dwnet_micro`.

A run that is finished already is published again without training, and without starting Ray.
"""

import csv
import fcntl
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.cli import Call
from pipeline.engine.run import Run
from pipeline.errors import UserError, nearest
from pipeline.files import whole_folder, write_json, write_text
from pipeline.params import Task
from pipeline.provenance import commit, run_id, stage_digest
from pipeline.shards.manifest import Manifest

TASKS = ("classify",)
HISTORY = ("seed", "epoch", "step", "lr", "train_loss", "images_per_second")


def main() -> None:
    """Read the command line, train what is not trained, publish."""
    parser = cli.parser("Train a task's variant on all its seeds and publish the result.")
    parser.add_argument("task", help="classify")
    parser.add_argument("variants", nargs="+", metavar="variant", help="entries of the task's variants in params.yaml")
    call = cli.call(parser.parse_args())
    task, section = call.args.task, _section(call)
    for variant in call.args.variants:
        if variant not in section.variants:
            raise UserError(f"{task}.variants has no '{variant}'; {nearest(variant, section.variants)}")
    shards = call.shards(section.dataset)
    wanted = [run for variant in call.args.variants for run in runs_of(call, shards, variant)]
    missing = [run for run in wanted if run.finished() is None]
    if missing:
        _train(call, shards, [*missing, *_companions(call, shards, wanted)])
    for variant in call.args.variants:
        publish(call, shards, variant)


def _section(call: Call) -> Task:
    if call.args.task not in TASKS:
        raise UserError(f"no task '{call.args.task}'; {nearest(call.args.task, TASKS)}")
    section: Task = getattr(call.params, call.args.task)
    return section


def runs_of(call: Call, shards: Path, variant: str) -> list[Run]:
    """Return a variant's runs, one a seed."""
    task: str = call.args.task
    section: Task = getattr(call.params, task)
    storage = (call.project / call.params.cluster.storage).resolve()
    start = section.recipe_of(variant).init_from
    init = (call.project / start).resolve() if start else None
    if init and not init.is_file():
        raise UserError(f"{task}.variants.{variant}: init_from {start} is not a file")
    manifest = Manifest.load(shards).digest
    made = []
    for seed in section.seeds_of(variant):
        identifier = run_id(call.project, task, section, variant, seed, manifest, init)
        workers = call.params.cluster.loader_workers
        made.append(Run(identifier, task, variant, seed, section, shards, storage / identifier, workers, init))
    return made


def _companions(call: Call, shards: Path, wanted: list[Run]) -> list[Run]:
    """Return unfinished, unpublished runs of the task's other variants, where `cluster.together` says so.

    Their own stages find them finished: several stages pay for one start of processes and imports.
    """
    if not call.params.cluster.together:
        return []
    others = [name for name in _section(call).variants if name not in {run.variant for run in wanted}]
    runs = [run for name in others for run in runs_of(call, shards, name)]
    return [run for run in runs if run.finished() is None and not _published(call, run)]


def _published(call: Call, run: Run) -> bool:
    metrics = call.folders.results(run.task, run.variant, "metrics.json")
    return metrics.exists() and run.id in metrics.read_text()


def _train(call: Call, shards: Path, runs: list[Run]) -> None:
    """Train runs in one worker group, recorded in MLflow; raise where one that was asked for ended badly."""
    from pipeline.shards.verify import verify

    if problems := verify(shards):
        raise UserError(f"{shards} is damaged:\n  " + "\n  ".join(problems) + "\nrun the shard stage again")
    with ExitStack() as locks:
        for run in runs:
            locks.enter_context(_locked(run))
        unfinished = [run for run in runs if run.finished() is None]  # another process may have been at them
        wrong = _train_recorded(call, unfinished) if unfinished else {}
    asked = [wrong[run.id] for run in runs if run.id in wrong and run.variant in call.args.variants]
    if asked:
        raise UserError("; ".join(asked))


def _train_recorded(call: Call, runs: list[Run]) -> dict[str, str]:
    """Train runs while MLflow records them; return those that bad input ended, with the reason."""
    from pipeline.tracking import Opening, Recorder, Tracker, uri_of

    uri = uri_of(call.params.tracking, call.project)
    with Tracker(uri, call.project) as tracker:
        opening = tracker.open([Opening(run, _tags(call, run), _config(run)) for run in runs])

        from pipeline.cluster import connected
        from pipeline.engine.group import train_group

        with connected(call.params.cluster):
            opened = opening.result()
            for run in runs:
                write_json(run.folder / "mlflow.json", {"run_id": opened[run.id]})
            try:
                return train_group(runs, call.params.cluster, Recorder(uri, opened))
            finally:
                tracker.close(opened, runs)


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Hold the run: a second process that wants the same one waits for it instead of training beside it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.folder / "lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{run.label} is being trained by another process; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _config(run: Run) -> dict[str, Any]:
    entry = run.section.variants[run.variant]
    return {
        "variant": run.variant, "mixer": entry.mixer, "size": entry.size, "model": entry.model_name, "seed": run.seed,
        "overrides": entry.overrides, "recipe": run.recipe.model_dump(mode="json"),
    }  # fmt: skip


def _tags(call: Call, run: Run) -> dict[str, str]:
    entry = run.section.variants[run.variant]
    head, dirty = commit(call.project)
    stage = f"{run.task}@{run.variant}"
    own = call.folders.root == call.project  # an ad-hoc call is no stage
    tags = {
        "variant": run.variant,
        "mixer": entry.mixer,
        "kernel_size": entry.kernel_size,
        "groups": entry.groups,
        "group_channels": entry.group_channels,
        "stage": stage,
        "stage_digest": stage_digest(call.project, stage) if own else None,
        "git_commit": head,
        "git_dirty": str(dirty).lower(),
        "manifest": Manifest.load(run.shards).digest,
    }
    return {name: str(value) for name, value in tags.items() if value}


def publish(call: Call, shards: Path, variant: str) -> None:
    """Write results/<task>/<variant>/ from the finished runs."""
    runs = runs_of(call, shards, variant)
    records = [_record(run) for run in runs]
    with whole_folder(call.folders.results(call.args.task, variant)) as folder:
        write_json(folder / "metrics.json", _metrics(call, runs, records))
        write_text(folder / "history.csv", _history(records))
        shutil.copyfile(runs[0].folder / "last.safetensors", folder / "model.safetensors")
        shutil.copyfile(runs[0].folder / "samples.png", folder / "samples.png")
    metric = records[0]["main_metric"]
    print(f"{variant}: {metric} {records[0]['final'][metric]:.1f} at the end (seed {runs[0].seed})", flush=True)


def _record(run: Run) -> dict[str, Any]:
    """Return a finished run's record with the id of its MLflow run."""
    record = run.finished()
    if record is None:
        raise UserError(f"{run.label} did not finish; run the command again to continue")
    recorded = json.loads((run.folder / "mlflow.json").read_text())
    return {**record, "mlflow_run_id": recorded["run_id"]}


def _metrics(call: Call, runs: list[Run], records: list[dict[str, Any]]) -> dict[str, Any]:
    first, manifest = records[0], Manifest.load(runs[0].shards)
    head, dirty = commit(call.project)
    dataset = runs[0].section.dataset
    per_seed = ("seed", "run_id", "mlflow_run_id", "final", "best", "train_images_per_second", "wall_time_s")
    whole = ("main_metric", "parameters", "world_size", "device", "final", "best", "train_images_per_second")
    return {
        **{name: value for name, value in _config(runs[0]).items() if name != "seed"},
        **{name: first[name] for name in whole},
        "task": runs[0].task,
        "wall_time_s": round(sum(record["wall_time_s"] for record in records), 1),
        "commit": head,
        "dirty": dirty,
        "data": {
            "dataset": dataset, "source": getattr(call.params.data, dataset).source, "manifest": manifest.digest,
            "train_samples": manifest.splits["train"].samples, "val_samples": manifest.splits["val"].samples,
            "classes": len(manifest.classes),
        },
        "seeds": [{name: record[name] for name in per_seed} for record in records],
    }  # fmt: skip


def _history(records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    metrics = sorted(records[0]["history"][0].keys() - set(HISTORY))
    writer = csv.DictWriter(text, [*HISTORY, *metrics], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerows({"seed": record["seed"], **row} for row in record["history"])
    return text.getvalue()


if __name__ == "__main__":
    cli.main(main)
