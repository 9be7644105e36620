"""Is every shard what the manifest says? Each file is read once, in threads: hashing leaves the
interpreter free.
"""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.files import sha256_file
from pipeline.shards.manifest import NAME, Manifest
from pipeline.shards.writer import INDEX_TYPE
from pipeline.storage.remote import RemoteFolder, Unreachable

REQUESTS = 16  # at once, to a server of shards


def verify(folder: Path, splits: Iterable[str] | None = None) -> list[str]:
    """Compare a folder of shards with its manifest.

    Args:
        folder: the folder that holds manifest.json.
        splits: the splits to check; all, and that nothing else lies in the folder, where None.

    Returns:
        One line for each problem, beginning with the file it is about; empty where all is well.
    """
    try:
        manifest = Manifest.load(folder)
    except UserError as error:
        return [f"{NAME}: {error}"]

    chosen = {
        name: entry
        for name, entry in manifest.splits.items()
        if splits is None or name in set(splits)
    }
    problems = [f"{name}: no such split in {NAME}" for name in splits or () if name not in chosen]

    files = manifest.files(chosen)
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
        checked = list(pool.map(lambda item: _check(folder, item[0], *item[1]), files.items()))
    problems += [problem for problem in checked if problem is not None]
    problems += [
        f"{path}: not in {NAME}" for path in _extra(folder, set(files), chosen, splits is None)
    ]

    broken = {problem.split(":", 1)[0] for problem in problems}
    for name, entry in chosen.items():
        counted = sum(shard.samples for shard in entry.shards)
        if counted != entry.samples:
            problems.append(
                f"{name}: {NAME} counts {entry.samples} samples, its shards hold {counted}"
            )
        elif (
            entry.index.name not in broken and (rows := _rows(folder / entry.index.name)) != counted
        ):
            problems.append(f"{entry.index.name}: {rows} rows for {counted} samples")

    return sorted(problems)


def verify_remote(remote: RemoteFolder, folder: Path, content: bool = False) -> list[str]:
    """Compare shards at a URL with a local manifest: it must lie there too, and every file in its
    right size.

    Args:
        remote: where the shards lie.
        folder: the local folder that holds manifest.json.
        content: read and hash every byte as well.

    Returns:
        One line for each problem, beginning with the file it is about; empty where all is well.
    """
    manifest = Manifest.load(folder)
    files = {NAME: ((folder / NAME).stat().st_size, sha256_file(folder / NAME)), **manifest.files()}

    def check(name: str) -> str | None:
        size, sha256 = files[name]
        try:
            size_there = remote.size(name)
            if size_there not in (None, size):
                return f"{name}: {size_there} bytes, should be {size}"
            if (content or name == NAME) and _digest(remote.blocks(name)) != sha256:
                return f"{name}: content differs (SHA-256)"
        except Unreachable as error:
            return f"{name}: {error}"
        return None

    with ThreadPoolExecutor(REQUESTS) as pool:
        return sorted(problem for problem in pool.map(check, files) if problem is not None)


def _digest(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _check(folder: Path, name: str, size: int, sha256: str) -> str | None:
    """Return what is wrong with one file."""
    path = folder / name
    try:
        size_there = path.stat().st_size
        if size_there != size:
            return f"{name}: {size_there} bytes, should be {size}"
        return None if sha256_file(path) == sha256 else f"{name}: content changed (SHA-256 differs)"
    except FileNotFoundError:
        return f"{name}: missing"
    except OSError as error:
        return f"{name}: unreadable: {error.strerror}"


def _extra(folder: Path, listed: set[str], splits: Iterable[str], everything: bool) -> list[str]:
    """Return the files that the manifest does not know, within the splits or everywhere."""
    roots = [folder] if everything else [folder / split for split in splits]
    paths = (path for root in roots for path in root.rglob("*") if not path.is_dir())

    return [
        name
        for name in (str(path.relative_to(folder)) for path in paths)
        if name not in listed | {NAME}
    ]


def _rows(path: Path) -> int:
    """Return how many samples an index describes; -1 where it is none."""
    try:
        index = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return -1
    return len(index) if index.dtype == INDEX_TYPE else -1
