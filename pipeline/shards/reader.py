"""Reading samples by position: one read of one file a sample, in any order, from any process or
thread.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Unreadable, UserError
from pipeline.core.shell import shell_line
from pipeline.shards import tar
from pipeline.shards.manifest import Manifest, RealLabelsEntry
from pipeline.shards.remote.cache import CacheEntry, ShardCache
from pipeline.shards.writer import INDEX_TYPE, image_member

OPEN_FILES = 128
Sample = dict[str, Any]
"""`__key__` (str) and the members' bytes by extension: `jpg` or `image.png`, and `cls`, `json` or
`png`.

Where the folder has ImageNet-Real's labels, samples of `val` also have `real`: a list of class
indices.
"""


def read_manifest(folder: Path, cache: ShardCache | None = None) -> Manifest:
    """Return the manifest of a folder of shards, or of the same shards by URL where there is a
    cache for them.

    Raises:
        UserError: there is none, or it is not one.
    """
    return Manifest.load(folder) if cache is None else cache.read_manifest()


class ShardReader:
    """Random access to the samples of one split, in a local folder or by URL through the node's
    cache.

    Nothing is shared that a fork could disturb: files are opened when first read, and reads name
    their offset. A pickled reader takes no open files along.
    """

    def __init__(self, folder: Path | str, split: str, cache: ShardCache | None = None) -> None:
        """Open a split of a folder of shards.

        Args:
            folder: the folder that holds manifest.json; not read where there is a cache.
            split: train or val.
            cache: where the shards come from by URL; None where they lie in the folder.

        Raises:
            UserError: there are no shards, no such split, or the index does not fit the manifest.
        """
        self.folder = Path(folder)
        self.split = split
        self.cache = cache
        if cache is not None:
            cache.sweep()

        manifest = read_manifest(self.folder, cache)
        if split not in manifest.splits:
            raise UserError(
                f"{self.folder} has no split {split!r}; it has {', '.join(manifest.splits)}"
            )

        entry = next(value for name, value in manifest.splits.items() if name == split)
        self.member = manifest.target.member
        self.shard_sizes = [shard.samples for shard in entry.shards]
        self._entries = [
            CacheEntry(f"{split}/{shard.name}", shard.bytes, shard.sha256) for shard in entry.shards
        ]
        self._starts = np.concatenate([[0], np.cumsum(self.shard_sizes, dtype=np.int64)])
        self._index_entry = CacheEntry(entry.index.name, entry.index.bytes, entry.index.sha256)
        self._real = self._real_labels(manifest.real_labels) if split == "val" else None

        self._samples = entry.samples
        self._index = self._map()
        self._files: dict[int, _File] = {}

    def __len__(self) -> int:
        """Return the number of samples in the split."""
        return self._samples

    def read(self, shard: int, index: int) -> Sample:
        """Return a sample's key and the bytes of its members.

        Raises:
            IndexError: there is no such shard or sample.
            Unreadable: the shard is missing or does not hold what the index says; `verify` tells
                more.
        """
        offset, image, target = self._row(shard, index)
        size = 2 * tar.BLOCK + tar.padded(image) + target
        data = self._file(shard).read(offset, size)

        key = _key(data)
        second = tar.BLOCK + tar.padded(image)
        photograph = data[tar.BLOCK : tar.BLOCK + image]
        extension = image_member(photograph)

        intact = len(data) == size and key != ""
        intact = intact and data[: tar.BLOCK] == tar.header(f"{key}.{extension}", image)
        if not intact or data[second : second + tar.BLOCK] != tar.header(
            f"{key}.{self.member}", target
        ):
            raise self._damaged(shard, index)

        sample: Sample = {
            "__key__": key,
            extension: photograph,
            self.member: data[second + tar.BLOCK :],
        }

        return sample if self._real is None else {**sample, "real": self._real[key]}

    def target(self, shard: int, index: int) -> bytes:
        """Return the bytes of a sample's target alone; raises as `read` does."""
        offset, image, target = self._row(shard, index)
        data = self._file(shard).read(offset + tar.BLOCK + tar.padded(image), tar.BLOCK + target)
        if len(data) < tar.BLOCK + target or data[: tar.BLOCK] != tar.header(
            f"{_key(data)}.{self.member}", target
        ):
            raise self._damaged(shard, index)
        return data[tar.BLOCK :]

    def key(self, shard: int, index: int) -> str:
        """Return a sample's key alone; raises as `read` does."""
        offset, _, _ = self._row(shard, index)
        key = _key(self._file(shard).read(offset, tar.BLOCK))
        if not key:
            raise self._damaged(shard, index)
        return key

    def bring(self, shard: int) -> None:
        """Fetch a shard to this node ahead of its use, where shards come by URL; raises Unreadable
        where it cannot.
        """
        if self.cache is not None:
            self.cache.bring(self._entries[shard])

    def shard_bytes(self, shard: int) -> int:
        """Return the size of a shard's file."""
        return self._entries[shard].bytes

    def _row(self, shard: int, index: int) -> tuple[int, int, int]:
        if not 0 <= shard < len(self.shard_sizes) or not 0 <= index < self.shard_sizes[shard]:
            raise IndexError(f"{self.split} has no sample {index} in shard {shard}")
        offset, image, target = self._index[
            int(self._starts[shard]) + self._place(shard, index)
        ].item()
        return offset, image, target

    def _place(self, shard: int, index: int) -> int:
        """Return where in its shard a sample stands that this reader gives a number."""
        return index

    def _file(self, shard: int) -> "_File":
        """Return the open file of a shard; the oldest is let go where too many are open."""
        file = self._files.get(shard)
        if file is None:
            file = _File(self._open(self._entries[shard]))
            for oldest in list(self._files)[: len(self._files) - OPEN_FILES + 1]:
                self._files.pop(oldest, None)
            self._files[shard] = file
        return file

    def _open(self, entry: CacheEntry) -> int:
        """Return a descriptor of one of the split's files."""
        if self.cache is not None:
            return self.cache.open(entry)
        path = self.folder / entry.name
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from None

    def _map(self) -> NDArray[np.void]:
        """Return the index as a memory map."""
        name = self._name(self._index_entry)
        try:
            with os.fdopen(self._open(self._index_entry), "rb") as file:
                index = _memory_map(file)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{name}: unreadable index: {error}") from None

        if (
            index.dtype != INDEX_TYPE
            or index.shape != (self._samples,)
            or self._starts[-1] != self._samples
        ):
            raise UserError(
                f"{name}: {index.shape} rows, but the manifest counts {self._samples} samples"
            )
        return index

    def _real_labels(self, listed: RealLabelsEntry | None) -> dict[str, list[int]] | None:
        """Return the class indices of each key by ImageNet-Real; None where there are none."""
        if listed is None:
            return None
        entry = CacheEntry(listed.name, listed.bytes, listed.sha256)
        with os.fdopen(self._open(entry), "rb") as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise UserError(
                f"{self._name(entry)}: content changed (SHA-256 differs); run the shard stage again"
            )
        labels: dict[str, list[int]] = json.loads(data)
        return labels

    def _name(self, entry: CacheEntry) -> str:
        """Return a file's path or URL for people."""
        return (
            str(self.folder / entry.name)
            if self.cache is None
            else self.cache.remote.shown(entry.name)
        )

    def _damaged(self, shard: int, index: int) -> Unreadable:
        verify = shell_line("python", "-m", "pipeline.shards", "verify", str(self.folder))
        advice = f"`{verify}` lists all damage"
        return Unreadable(
            f"{self._name(self._entries[shard])}: sample {index} is damaged; {advice}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files and the map behind."""
        return {**self.__dict__, "_files": {}, "_index": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the index again."""
        self.__dict__.update(state)
        self._index = self._map()


class _File:
    """A file that closes when the last reader lets go of it, so that no thread reads from a closed
    one.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`; fewer at the file's end."""
        data = os.pread(self._number, size, offset)
        while 0 < len(data) < size and (
            more := os.pread(self._number, size - len(data), offset + len(data))
        ):
            data += more
        return data

    def __del__(self) -> None:
        os.close(self._number)


def _memory_map(file: BinaryIO) -> NDArray[np.void]:
    """Map a NumPy file that is open: it may have lost its name in a cache already.

    Raises ValueError for any other.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not a NumPy file of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return np.memmap(file, dtype, "r", file.tell(), shape)


def _key(data: bytes) -> str:
    """Return the key that a header names, or nothing where there is no header."""
    name = data[:100].split(b"\0", 1)[0]
    return name.split(b".", 1)[0].decode("ascii", errors="replace") if name.isascii() else ""
