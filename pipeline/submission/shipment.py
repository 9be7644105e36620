"""What is shipped with a job: the code that git knows of, the stage's small inputs, and a note for
the other side.

No data, results or environment go along: shards are read where `cluster.shards` says, or from this
very folder where the cluster sees it.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import UserError
from pipeline.core.files import write_json, write_text
from pipeline.project.call import Call
from pipeline.project.git import commit
from pipeline.submission.stage import SubmittedStage

NOTE = "submitted.json"
"""What the job is told, in the folder that is shipped."""
MARK = "here"
"""A file beside the job's notes by which the other side knows that it sees this folder."""
MOST_BYTES = 100 * 2**20
"""What a dashboard takes in one upload."""
WEIGHTS_BYTES = 64 * 2**20
"""Larger files of weights are not shipped."""


def ship(call: Call, stage: SubmittedStage, mark: Path, folder: Path) -> None:
    """Copy what a job needs into an empty folder.

    Args:
        call: the call of the stage.
        stage: what the job is to do.
        mark: where a file is to be made that nobody else knows.
        folder: what will be the job's working directory.

    Raises:
        UserError: it is more than a dashboard takes.
    """
    for name in project_files(call.project):
        _copy(call.project / name, folder / name)
    if call.args.params or call.args.set:
        params = call.params.model_dump(mode="json")
        write_text(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False))

    shards = call.shards(stage.dataset)
    inventory = shards.parents[1] / "raw" / f"{stage.dataset}.json"
    _copy(shards / "manifest.json", folder / "data" / "shards" / stage.dataset / "manifest.json")
    _copy(inventory, folder / "data" / "raw" / inventory.name)

    for path in stage.reads:
        if path.stat().st_size <= WEIGHTS_BYTES:
            _copy(path, folder / _place(call, path))

    _refuse_too_large(folder)
    write_json(folder / NOTE, _note(call, stage, shards, mark))


def project_files(project: Path) -> list[str]:
    """Return the files that git tracks or would offer to track, relative to the project.

    Outside of git's care they are what git would offer if the project were its own.
    """
    listing = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    with tempfile.TemporaryDirectory() as folder:
        empty = ["--git-dir", f"{folder}/git", "--work-tree", "."]
        try:
            done = subprocess.run(["git", *listing], cwd=project, capture_output=True)
            if done.returncode:
                subprocess.run(["git", "init", "--quiet", "--bare", f"{folder}/git"], check=True)
                done = subprocess.run(
                    ["git", *empty, *listing], cwd=project, capture_output=True, check=True
                )
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"what belongs to the project is asked of git, which does not answer ({error}); "
                "install git"
            ) from None

    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    # Ray would leave out what a shipped .gitignore names, the manifest among it
    return sorted(
        name
        for name in names
        if (project / name).is_file() and name.rpartition("/")[2] != ".gitignore"
    )


def _place(call: Call, path: Path) -> Path:
    """Return where the job finds a file of weights: where this call, without its options, would."""
    for root in (call.folders.root, call.project):
        if path.is_relative_to(root):
            return path.relative_to(root)
    raise UserError(
        f"init_from {path} lies outside the project, where a job cannot find it; copy it into the "
        "project"
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _refuse_too_large(folder: Path) -> None:
    sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total <= MOST_BYTES:
        return

    largest = sorted(sizes, key=lambda path: -sizes[path])[:3]
    named = ", ".join(
        f"{path.relative_to(folder)} ({sizes[path] / 2**20:.0f} MB)" for path in largest
    )
    raise UserError(
        f"the project is {total / 2**20:.0f} MB without data and results, and a job takes "
        f"{MOST_BYTES // 2**20}; let .gitignore name what does not belong to it, e.g. {named}"
    )


def _note(call: Call, stage: SubmittedStage, shards: Path, mark: Path) -> dict[str, Any]:
    secret = os.urandom(16).hex()
    write_text(mark, secret)
    head, dirty = commit(call.project)

    return {
        "command": list(stage.command),
        "publishes": list(stage.publishes),
        "dataset": stage.dataset,
        "reads": {str(_place(call, path)): str(path) for path in stage.reads},
        "shards": str(shards.resolve()),
        "project": str(call.project),
        "mark": str(mark),
        "secret": secret,
        "machine": machine(),
        "commit": head,
        "dirty": dirty,
    }


def machine() -> str:
    """Return what tells this machine, since it was started, from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # no Linux
        return socket.gethostname()


def read_note(folder: Path) -> dict[str, Any] | None:
    """Return the note in a job's folder; None where the job was not submitted by this project."""
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text())
    except FileNotFoundError:
        return None
    return note
