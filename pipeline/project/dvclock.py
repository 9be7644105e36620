"""DVC's lock of its files, and dvc.lock, after a kill."""

import json
import os
import time
from pathlib import Path

import psutil
import yaml

from pipeline.core.errors import UserError
from pipeline.core.files import write_bytes

POLL_S = 0.2


def free_stages(project: Path) -> None:
    """Wait for a `dvc` at work in this project, and clear what others left in DVC's lock of the
    stages' files.

    DVC looks only whether a process has the number that stands in there, which may be anybody's by
    now, and cannot read a file that was cut off.
    """
    rwlock = project / ".dvc" / "tmp" / "rwlock"
    announced = False

    while rwlock.exists() and (holder := _holder(project, rwlock)):
        if not announced:
            since = time.strftime("%H:%M:%S", time.localtime(holder.create_time()))
            print(
                f"dvc is at work here, process {holder.pid} since {since}; waiting for it",
                flush=True,
            )
        announced = True
        time.sleep(POLL_S)

    if rwlock.exists() and _pids(rwlock) != set():
        print(f"{rwlock.relative_to(project)} was left by a dvc that is gone; removed", flush=True)
        rwlock.unlink()


def _holder(project: Path, rwlock: Path) -> psutil.Process | None:
    """Return a running `dvc` that DVC's lock names; any in this project where the lock cannot be
    read.
    """
    pids = _pids(rwlock)
    for process in psutil.process_iter():
        try:
            named = process.pid != os.getpid() if pids is None else process.pid in pids
            if named and _is_dvc(process.cmdline()) and Path(process.cwd()).is_relative_to(project):
                return process
        except psutil.Error:
            continue
    return None


def _is_dvc(words: list[str]) -> bool:
    return any(Path(word).name == "dvc" for word in words[:4])


def _pids(rwlock: Path) -> set[int] | None:
    """Return the processes that DVC's lock names; None where it cannot be read."""
    try:
        content = json.loads(rwlock.read_text())
        readers = [reader for several in content.get("read", {}).values() for reader in several]
        return {int(entry["pid"]) for entry in (*content.get("write", {}).values(), *readers)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def mend_lock_file(project: Path) -> None:
    """Put the copy of the last time in the place of a `dvc.lock` that was cut off.

    Raises:
        UserError: it is damaged, and there is no copy.
    """
    file = project / "dvc.lock"
    copy = _copy(project)
    if not file.exists():
        return

    content = file.read_bytes()
    kept = copy.read_bytes() if copy.exists() else b""
    wrong = _damage(content)

    if kept and (wrong or (kept != content and kept.startswith(content))) and _damage(kept) is None:
        write_bytes(file, kept)
        print("dvc.lock was damaged; it is what it was after the last `make repro`", flush=True)
    elif wrong:
        raise UserError(
            f"dvc.lock is damaged ({wrong}); restore it (git checkout dvc.lock), or delete it: "
            "finished trainings are "
            "published again without training"
        )
    else:
        keep_lock_file(project)


def keep_lock_file(project: Path) -> None:
    """Keep a copy of `dvc.lock`, which DVC writes over in place."""
    file = project / "dvc.lock"
    if file.exists() and _damage(content := file.read_bytes()) is None:
        write_bytes(_copy(project), content)


def _copy(project: Path) -> Path:
    return project / "runs" / "dvc.lock"


def _damage(content: bytes) -> str | None:
    """Return what is wrong with a `dvc.lock`, or None."""
    try:
        tree = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        return "no YAML" + (f" in line {mark.line + 1}" if mark else "")

    stages = tree.get("stages") if isinstance(tree, dict) else None
    if not isinstance(stages, dict) or tree.get("schema") != "2.0":
        return "no stages in it"

    wrong = (
        name for name, stage in stages.items() if not isinstance(stage, dict) or "cmd" not in stage
    )
    return next((f"stage {name} has no command" for name in wrong), None)
