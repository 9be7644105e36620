"""Inside a job: where its folder's data, runs and records are, which is not in the job's folder."""

import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.core import environment
from pipeline.core.errors import UserError, discreet
from pipeline.core.files import whole_folder, write_bytes
from pipeline.core.progress import say
from pipeline.params import Params, load
from pipeline.project.call import Call
from pipeline.project.git import SHIPPED
from pipeline.storage.remote import ObjectFolder, RemoteFolder, Unreachable
from pipeline.submission.shipment import NOTE, machine


def refuse_unkept(call: Call, dataset: str) -> None:
    """In a job whose folder ends with it, stop before anything is written that would be lost, and
    take the manifest from where the shards are.

    Raises:
        UserError: naming the setting that lacks.
    """
    if not environment.in_shipped_job():
        return
    storage = call.params.cluster.storage
    if _inside(storage) and (call.project / storage).resolve().is_relative_to(call.project):
        raise UserError(
            f"cluster.storage: {storage} lies in the job's own folder, which ends with it; name a "
            "folder or a URL that all nodes reach, e.g. --set cluster.storage=/shared/runs"
        )

    database = _database(call.params, call.project)
    if database is not None and database.is_relative_to(call.project):
        raise UserError(
            "MLflow's database would lie in the job's own folder, which ends with it; name a "
            "server in tracking.uri, or in MLFLOW_TRACKING_URI of the job"
        )

    _take_manifest(call, dataset)


def keep_results(call: Call, *names: str) -> None:
    """In a job of somebody's own, whose folder ends with it, copy what was published to the storage
    of runs: results/NAME there, as it would be here.
    """
    if not environment.in_shipped_job() or (call.project / NOTE).exists():
        return
    storage = call.params.cluster.storage

    for name in names:
        source = call.folders.results(*name.split("/"))
        if "://" in storage:
            store = ObjectFolder(f"{storage}/results/{name}")
            for file in (path for path in source.rglob("*") if path.is_file()):
                store.upload(file, str(file.relative_to(source)))
        else:
            with whole_folder(Path(storage).expanduser() / "results" / name) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
        say(f"results/{name} is in {discreet(storage)}/results/{name}, since this folder ends")


def _database(params: Params, project: Path) -> Path | None:
    from pipeline.tracking.database import sqlite_file
    from pipeline.tracking.entry import store_of

    return sqlite_file(store_of(params.tracking, project).uri)


def _take_manifest(call: Call, dataset: str) -> None:
    target = call.project / "data" / "shards" / dataset / "manifest.json"
    if target.exists():
        return
    url = call.params.cluster.shards
    if url is None:
        raise UserError(
            f"{dataset} has no shards in the job's folder; say where they are, e.g. --set "
            "cluster.shards=s3://bucket/shards, or a folder that all nodes see"
        )

    remote = RemoteFolder(f"{url}/{dataset}")
    try:
        write_bytes(target, b"".join(remote.blocks(target.name)))
    except Unreachable as error:
        raise UserError(
            f"cluster.shards: {remote.shown(target.name)} cannot be read: {error}"
        ) from None


def settle(note: dict[str, Any], project: Path) -> None:
    """Let a job's folder have what it shares with the folder that it was shipped from, where this
    machine sees that one; where not, stop if something lacks.

    Raises:
        UserError: naming the setting that lacks.
    """
    os.environ[SHIPPED] = f"{note['commit'] or ''} {'dirty' if note['dirty'] else ''}"

    params = load(project / "params.yaml")
    home = Path(note["project"])
    seen = _reads(Path(note["mark"])) == note["secret"]
    if seen:
        _share(note, params, project, home)
    elif params.cluster.shards is None:
        raise UserError(
            f"the cluster does not see {home}; say where it reads the shards, in cluster.shards, "
            "e.g. s3://bucket/shards, or a folder that all nodes see"
        )
    elif _inside(params.cluster.storage):
        raise UserError(
            f"the cluster does not see {home}; say where it keeps the runs, in cluster.storage, "
            "e.g. s3://bucket/runs, or a folder that all nodes see"
        )

    if _database(params, project) is not None and not (seen and note["machine"] == machine()):
        raise UserError(
            "MLflow's database would be written on another machine than this project's; name a "
            "server in tracking.uri, or in MLFLOW_TRACKING_URI"
        )


def _share(note: dict[str, Any], params: Params, project: Path, home: Path) -> None:
    """Link to what the shipping folder has: shards, runs, larger weights, MLflow's database."""
    places = {"mlflow.db": home / "mlflow.db"}
    if _inside(params.cluster.storage):
        (home / params.cluster.storage).mkdir(parents=True, exist_ok=True)
        places[params.cluster.storage] = home / params.cluster.storage

    for name, source in note["reads"].items():
        if not (project / name).exists():
            places[name] = Path(source)

    if params.cluster.shards is None:
        shards = project / "data" / "shards" / note["dataset"]
        (shards / "manifest.json").unlink()
        shards.rmdir()
        places[str(shards.relative_to(project))] = Path(note["shards"])

    for name, source in places.items():
        link = project / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)


def _inside(storage: str) -> bool:
    """Return whether runs would be kept in the project's own folder."""
    return "://" not in storage and not Path(storage).expanduser().is_absolute()


def _reads(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
