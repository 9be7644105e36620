"""Whole shards on this node: fetched from a URL once, checked as they arrive, shared by the node's
processes.

A file is kept under the digest of its content, so data sets and versions never mix; its lock beside
it is held by whoever fetches it, and goes when the holder dies. The lock's content says which file
was found sound, and when; its time says when the file was last used. A file is hashed as it
arrives, and once more after each start of a training, since a disk may change a bit without
changing a date.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.core import failpoints
from pipeline.core.errors import Unreadable
from pipeline.core.files import sha256_file, user_cache
from pipeline.core.locks import locked
from pipeline.params import Cluster
from pipeline.shards.manifest import NAME, Manifest, ShardEntry
from pipeline.storage.remote import RemoteFolder, Unreachable

ATTEMPTS = 3
PAUSE_S = 0.5
LOCKS = "locks"
ROOM = "room"


class CacheEntry(NamedTuple):
    """A file as the manifest knows it: its name under the URL, its bytes, its SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardCache:
    """A data set at a URL, and the folder on each node that keeps what was fetched of it.

    Pickles as plain values.
    """

    remote: RemoteFolder
    manifest: CacheEntry
    folder: str | None
    limit: int
    since: int = field(default_factory=time.time_ns)
    """What was found sound before this time (in ns since 1970) is hashed again."""

    @classmethod
    def of(cls, cluster: Cluster, folder: Path) -> "ShardCache | None":
        """Return the cache for a local folder that holds a manifest; None where shards are read
        from that folder.
        """
        if cluster.shards is None:
            return None
        path = folder / NAME
        manifest = CacheEntry(NAME, path.stat().st_size, sha256_file(path))

        return cls(
            RemoteFolder(f"{cluster.shards}/{folder.name}"),
            manifest,
            cluster.cache,
            int(cluster.cache_gb * 1e9),
        )

    @property
    def home(self) -> Path:
        """The folder on this node, by default in the user's cache folder."""
        if self.folder is not None:
            return Path(self.folder).expanduser()
        return user_cache("shards")

    def open(self, entry: CacheEntry) -> int:
        """Return a file descriptor to read a file from, fetching the file where it is not here.

        The descriptor stays good when the file is removed to make room.

        Raises:
            Unreadable: the file cannot be had, is not what the manifest says, or the folder cannot
                be written.
        """
        try:
            if (number := self._sound(entry)) is not None:
                return number
            with self._locked(entry.sha256) as lock:
                return self._settle(entry, lock)
        except OSError as error:
            raise Unreadable(
                f"{self.home}: {error.strerror or error}; make room there, or name another "
                "folder by cluster.cache"
            ) from None

    def bring(self, entry: CacheEntry) -> None:
        """Fetch a file ahead of its use, unless another process is at it; raises as `open` does."""
        try:
            if (number := self._sound(entry)) is None:
                with self._locked(entry.sha256, wait=False) as lock:
                    number = self._settle(entry, lock)
            os.close(number)
        except BlockingIOError:
            return
        except OSError as error:
            raise Unreadable(f"{self.home}: {error.strerror or error}") from None

    def read_manifest(self) -> Manifest:
        """Return the manifest from the URL, which must be the local one byte for byte; raises as
        `open` does.
        """
        with os.fdopen(self.open(self.manifest), "rb") as file:
            return Manifest.model_validate_json(file.read())

    def advice(self, shards: Sequence[ShardEntry], block: int | Literal["all"]) -> list[str]:
        """Return a sentence for each way in which training on these shards will fetch more than it
        has to.
        """
        total = sum(shard.bytes for shard in shards)
        limit = f"cluster.cache_gb is {self.limit / 1e9:g}"
        block_bytes = (
            total if block == "all" else min(total, block * max(shard.bytes for shard in shards))
        )
        sentences = []

        if block == "all":
            sentences.append(
                "shuffle_block: all makes every node fetch the whole training split, "
                f"{total / 1e9:.3g} GB"
            )
        if block_bytes > self.limit:
            sentences.append(
                f"{limit}, a shuffle block has {block_bytes / 1e9:.3g} GB: shards will be fetched "
                "again and again"
            )

        return sentences

    def sweep(self) -> None:
        """Remove what dead processes left half-written: a living one holds the file's lock."""
        for beside in self.home.glob("*.tmp"):
            try:
                with self._locked(beside.stem, wait=False):
                    beside.unlink(missing_ok=True)
            except OSError:  # being written, or not ours to remove
                continue

    def _sound(self, entry: CacheEntry) -> int | None:
        """Return a descriptor where the file here is the one that was found sound since the
        start.
        """
        try:
            number = os.open(self.home / entry.sha256, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

        try:
            lock = self.home / LOCKS / entry.sha256
            *identity, checked = map(int, lock.read_bytes().split())
            if (
                identity == _identity(number)
                and identity[-1] == entry.bytes
                and checked >= self.since
            ):
                os.utime(lock)
                return number
        except (OSError, ValueError):  # no word about it, or half a word
            pass

        os.close(number)
        return None

    def _settle(self, entry: CacheEntry, lock: int) -> int:
        """Return a descriptor of the sound file, by any means; the caller holds its lock."""
        number = self._sound(entry)  # others may have been at it while this process waited
        if number is None:
            number = self._checked(entry)
            if number is None:
                number = self._fetch(entry)
            os.lseek(number, 0, os.SEEK_SET)
            os.pwrite(
                lock,
                b" ".join(b"%020d" % value for value in (*_identity(number), time.time_ns())),
                0,
            )
        return number

    def _checked(self, entry: CacheEntry) -> int | None:
        """Return a descriptor of the file here where hashing it says that it is sound."""
        path = self.home / entry.sha256
        try:
            number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

        with open(number, "rb", closefd=False) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256:
                return number

        os.close(number)
        print(
            f"{path}: this copy of {entry.name} is damaged; it is fetched again",
            file=sys.stderr,
            flush=True,
        )
        return None

    def _fetch(self, entry: CacheEntry) -> int:
        """Return a descriptor of the file as it came; it gets its name when it is whole and
        right.
        """
        path = self.home / entry.sha256
        beside = path.with_suffix(".tmp")
        number = self._reserve(beside, entry.bytes)
        try:
            self._download(entry, number)
            # its name is its digest, which only a file that was checked gets
            os.rename(beside, path)
        except BaseException:
            os.close(number)
            beside.unlink(missing_ok=True)
            raise
        return number

    def _reserve(self, beside: Path, size: int) -> int:
        """Create a file of its final size, and remove what was not used for longest until the
        folder fits its limit.

        Files being written count and stay.
        """
        with self._locked(ROOM):
            number = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            os.truncate(number, size)
            sizes = {
                path: stat.st_size
                for path in self.home.iterdir()
                if (stat := _stat(path)) and path.name != LOCKS
            }

            over = sum(sizes.values()) - self.limit
            for path in sorted((path for path in sizes if not path.suffix), key=self._last_used):
                if over <= 0:
                    break
                path.unlink(missing_ok=True)
                over -= sizes[path]
        return number

    def _last_used(self, path: Path) -> int:
        stat = _stat(self.home / LOCKS / path.name)
        return stat.st_mtime_ns if stat else 0

    def _download(self, entry: CacheEntry, number: int) -> None:
        problem = ""
        for attempt in range(ATTEMPTS):
            time.sleep(PAUSE_S * attempt)
            if not (problem := self._arrive(entry, number)):
                return
        raise Unreadable(
            f"{self.remote.shown(entry.name)}: {problem}, in {ATTEMPTS} attempts; upload the "
            "folder again that holds "
            "the local manifest, or mend the connection"
        )

    def _arrive(self, entry: CacheEntry, number: int) -> str:
        """Write and hash a file as it comes; return what is wrong with it, nothing where all is
        well.
        """
        digest = hashlib.sha256()
        arrived = 0
        os.lseek(number, 0, os.SEEK_SET)

        try:
            with open(number, "wb", closefd=False) as file:
                for count, block in enumerate(self.remote.blocks(entry.name)):
                    failpoints.reach("cache.block", name=entry.name, block=count)
                    arrived += len(block)
                    if arrived > entry.bytes:
                        return (
                            f"more than {entry.bytes} bytes came, should be {entry.bytes} "
                            f"with SHA-256 {entry.sha256}"
                        )
                    digest.update(block)
                    file.write(block)
        except Unreachable as error:
            return f"{error} after {arrived} of {entry.bytes} bytes"

        hashed = digest.hexdigest()
        if (hashed, arrived) == (entry.sha256, entry.bytes):
            return ""
        return (
            f"{arrived} bytes came with SHA-256 {hashed}, should be {entry.bytes} with "
            f"{entry.sha256}"
        )

    @contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[int]:
        """Hold a lock of the folder; raise BlockingIOError where it is held and `wait` is off."""
        path = self.home / LOCKS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, wait) as number:
            yield number


def _identity(number: int) -> list[int]:
    """Return what changes when somebody replaces or writes an open file: inode, time, size."""
    stat = os.fstat(number)
    return [stat.st_ino, stat.st_mtime_ns, stat.st_size]


def _stat(path: Path) -> os.stat_result | None:
    """Return a file's state, None where another process has just removed or renamed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
