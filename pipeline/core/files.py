"""Files and folders that appear whole or not at all.

Everything the project publishes goes through here: written beside its final name, flushed to disk,
then renamed.
"""

import glob
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core import failpoints
from pipeline.core.errors import UserError, disk_full


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` atomically, making parent folders as needed.

    Raises:
        UserError: a folder lies where the file belongs.
        DiskFull: there is no room; what was there before is intact.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder where a file of the project belongs; move it away")

    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoints.reach("file.written", name=path.name)
        os.replace(beside, path)
        _sync(path.parent)
    except OSError as error:
        raise (disk_full(error, path, len(data)) or error) from None
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, so that equal values are equal bytes; null
    where not finite.
    """
    write_text(path, json.dumps(finite(value), indent=2, sort_keys=True, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Return a JSON value with None in place of NaN and infinities, which JSON has no words for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, on failure
    nothing changes.

    What a killed process left of an earlier try is cleared away first; where it had moved the old
    folder aside and not yet put the new one in its place, the old one is put back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path)
    beside, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    beside.mkdir()

    try:
        yield beside
        # on disk before it has its name: a folder of this name is whole
        for entry in (*beside.rglob("*"), beside):
            _sync(entry)

        # a folder cannot be renamed onto another; `clear_leftovers` mends a kill between the two
        if path.exists():
            os.rename(path, old)
        failpoints.reach("folder.moved", name=path.name)
        os.rename(beside, path)
        _sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def clear_leftovers(path: Path) -> None:
    """Remove what killed writers of the folder `path` left beside it; the caller holds whatever
    lock guards it.
    """
    for old in sorted(path.parent.glob(f".{glob.escape(path.name)}.*.old")):
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)
    for beside in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        shutil.rmtree(beside) if beside.is_dir() else beside.unlink()


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def user_cache(*parts: str) -> Path:
    """Return a folder of the project's in the user's cache folder, which XDG_CACHE_HOME moves.

    Raises:
        UserError: the user has no home.
    """
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        raise UserError(
            f"user {os.getuid()} has no home folder; name a folder for caches in XDG_CACHE_HOME"
        ) from None
    return caches.joinpath("demystify-local-attention", *parts)
