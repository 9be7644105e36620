"""Continue a run whose code was mended: `python -m pipeline.train classify dwnet_tiny --adopt ID`.

Changed code makes another run, from its first step on. Where the change cannot matter to what is
done already (a crash mended, a log line), its checkpoints may be adopted; the record says so ever
after.
"""

import json
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core import records
from pipeline.core.errors import UserError
from pipeline.core.files import clear_leftovers, whole_folder, write_json
from pipeline.core.locks import Busy
from pipeline.runs.run import Run


def adopt(identifier: str, runs: list[Run]) -> None:
    """Copy the checkpoints of run `identifier` into the run of `runs` that differs from it in
    code alone.

    Raises:
        UserError: there is no such run, no run of `runs` matches it, or the matching one has
            begun already.
    """
    source = _run_of(identifier, runs[0])
    source.download_newest()
    old = _decided(source.folder)

    run = next((run for run in runs if _without_code(run.decides) == _without_code(old)), None)
    if run is None:
        raise UserError(
            f"--adopt {identifier}: {_difference(old, runs[0])}; a run with other settings is "
            "another run"
        )
    if run.id == identifier:
        return

    with ExitStack() as locks:
        try:
            for locked in (source, run):
                locks.enter_context(locked.exclusive(wait=False))
        except Busy as busy:
            raise UserError(f"--adopt {identifier}: {busy}") from None

        clear_leftovers(run.checkpoints)
        run.download_newest()
        if run.finished() is not None or run.checkpoints.exists():
            if (run.adopted() or {}).get("from") == identifier:
                return
            raise UserError(
                f"--adopt {identifier}: run {run.id} has begun already; remove {run.folder} to "
                "start it anew"
            )

        _copy(source.folder, run, old)


def _run_of(identifier: str, like: Run) -> Run:
    """Return a run by its id, of which nothing is known but where it is kept."""
    stored = None if like.stored is None else like.stored.of(identifier)
    return replace(like, id=identifier, folder=like.folder.parent / identifier, stored=stored)


def _copy(source: Path, run: Run, old: dict[str, Any]) -> None:
    """Copy the best weights so far, then the checkpoints; these appear last, and whole."""
    changed = sorted(
        name for name in old["code"] if old["code"][name] != run.decides["code"].get(name)
    )
    write_json(run.folder / "adopted.json", {"from": source.name, "changed_code": changed})

    for path in source.glob("best-*.safetensors"):
        shutil.copyfile(path, run.folder / path.name)
    with whole_folder(run.checkpoints) as folder:
        shutil.copytree(source / "checkpoints", folder, dirs_exist_ok=True)

    run.ensure_uploaded()
    print(
        f"{run.label} continues run {source.name}; changed since: {', '.join(changed)}", flush=True
    )


def _decided(source: Path) -> dict[str, Any]:
    if not (source / "checkpoints").is_dir():
        raise UserError(f"--adopt {source.name}: {source} has no checkpoints of an unfinished run")

    decided = records.read(source / "decides.json", records.Decided)
    if decided is None:
        raise UserError(
            f"--adopt {source.name}: {source} does not say what the run was made of; train it anew"
        )
    return decided


def _without_code(decided: dict[str, Any]) -> dict[str, Any]:
    # tuples and lists are the same settings
    plain: dict[str, Any] = json.loads(json.dumps(decided))
    return {name: value for name, value in plain.items() if name != "code"}


def _difference(old: dict[str, Any], run: Run) -> str:
    """Say what differs between a run and the one asked for."""
    mine = _without_code(run.decides)
    theirs = _without_code(old)
    names = [name for name in mine if mine[name] != theirs.get(name)]
    return f"it differs from {run.label} in {', '.join(names)}"
