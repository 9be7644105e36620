"""Whole copies of a run's folder in a store: files under their digests, and a seal that names them
and is written last.

A store has no rename. So no object is ever written twice with another content: a file lies under
its digest, a seal under its step and digest. Whoever is killed leaves files that no seal names, and
two who write at once harm each other nothing.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from pipeline.core import failpoints
from pipeline.core.files import sha256_file, whole_folder
from pipeline.core.locks import locked
from pipeline.core.records import Count, Record
from pipeline.storage.remote import Missing, ObjectFolder

ATTEMPTS = 3
OBJECTS = "objects"
CHECKPOINTS = "checkpoints"
FINISHED = "finished.json"

RelativeName = Annotated[str, Field(pattern=r"^(checkpoints/\d+/)?[\w-][\w.-]*$")]
"""A file within a run's folder, and nowhere else."""


class Damaged(Exception):
    """A copy is not what its seal says; says how."""


class StoredFile(Record):
    """A file of a copy."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Count


class Seal(Record):
    """What a copy is made of, by the files' names within the run's folder."""

    files: dict[RelativeName, StoredFile]


@dataclass(frozen=True)
class RunStore:
    """What a store keeps of one run. Every method raises `Unreachable` where the store does not
    answer.
    """

    objects: ObjectFolder

    def seals(self) -> list[str]:
        """Return the names of the sealed checkpoints, the newest first."""
        return sorted(self.objects.sizes(CHECKPOINTS), reverse=True)

    def seal(self, name: str) -> Seal:
        """Read a seal: one of `seals`, or `FINISHED`.

        Raises:
            Missing: there is none.
            Damaged: it is no seal.
        """
        data = self.objects.read(_place(name))
        try:
            return Seal.model_validate_json(data)
        except ValidationError:
            raise Damaged(f"{_place(name)} is no seal") from None

    def put(self, step: int, files: Mapping[str, Path], skip_existing: bool = True) -> str:
        """Upload a checkpoint's files, by their names within the run's folder, and seal them.

        With `skip_existing`, what is there in its full size is not uploaded again.

        Returns:
            the seal's name.
        """
        seal = _seal_of(files)
        data = _bytes_of(seal)
        name = f"{step:09d}-{hashlib.sha256(data).hexdigest()[:16]}.json"
        self._upload(seal, files, self._sizes() if skip_existing else {}, name)
        self.objects.create(_place(name), data)
        failpoints.reach("store.sealed", seal=step)
        return name

    def finish(self, files: Mapping[str, Path]) -> None:
        """Upload a finished run's files, and seal the run for ever; the first whole one stands.

        Checkpoints, and files that the seal does not name, are removed.
        """
        seal = _seal_of(files)
        sealed = self._finished()
        if sealed is not None and sealed != seal and not self._whole(sealed):
            sealed = None
        if sealed is None:
            self._upload(seal, files, {}, FINISHED)
            if not self.objects.create(FINISHED, _bytes_of(seal)):
                self.objects.write(FINISHED, _bytes_of(seal))
            failpoints.reach("store.finished")
            sealed = seal

        # only now: a kill before the seal leaves a checkpoint to go on from
        self.objects.remove(_place(name) for name in self.seals())
        self._remove_unnamed([sealed])

    def get(self, seal: Seal, folder: Path, keep: Iterable[str] = ()) -> None:
        """Download a copy into a run's folder, a checkpoint's folder whole or not at all.

        Several processes of a machine may ask at once: one downloads it.

        Args:
            seal: what to download.
            folder: the run's folder.
            keep: files that stay as they are where they are there.

        Raises:
            Damaged: an object is gone, or is not what was sealed.
            DiskFull: there is no room.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "arriving.lock"):
            lacking = _lacking(seal, folder, frozenset(keep))
            with _folder_beside(folder) as arriving:
                for name in lacking:
                    self._download(name, seal.files[name], arriving / name)
                _settle(arriving, folder)

    def prune(self, keep: int) -> None:
        """Keep the checkpoints of the last `keep` steps, and the files that these name."""
        names = self.seals()
        steps = sorted({_step(name) for name in names}, reverse=True)[:keep]
        dropped = [name for name in names if _step(name) not in steps]
        try:
            kept = [self.seal(name) for name in names if name not in dropped]
        except (Damaged, Missing):  # who knows what it names
            kept = []

        self.objects.remove(_place(name) for name in dropped)
        if kept:
            self._remove_unnamed(kept)

    def _finished(self) -> Seal | None:
        try:
            return self.seal(FINISHED)
        except (Missing, Damaged):
            return None

    def _whole(self, seal: Seal) -> bool:
        """Say whether everything that a seal names is there, read and hashed."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                self.get(seal, Path(folder))
            except Damaged:
                return False
        return True

    def _sizes(self) -> dict[str, int]:
        return self.objects.sizes(OBJECTS)

    def _upload(
        self, seal: Seal, files: Mapping[str, Path], present: Mapping[str, int], name: str
    ) -> None:
        """Upload the files of a seal that are not there in their full size."""
        for relative, file in seal.files.items():
            if present.get(_object(relative, file)) != file.bytes:
                failpoints.reach("store.upload", seal=name.partition("-")[0], file=relative)
                self.objects.upload(files[relative], f"{OBJECTS}/{_object(relative, file)}")
        failpoints.reach("store.unsealed", seal=name.partition("-")[0])

    def _download(self, name: str, file: StoredFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        wrong = ""
        for _ in range(ATTEMPTS):
            try:
                self.objects.download(f"{OBJECTS}/{_object(name, file)}", path)
            except Missing:
                raise Damaged(f"{name} is not there") from None
            size = path.stat().st_size
            if size != file.bytes:
                wrong = f"{name} has {size} bytes, should have {file.bytes}"
            elif sha256_file(path) != file.sha256:
                wrong = f"the digest of {name} differs from its seal"
            else:
                return
        raise Damaged(wrong)

    def _remove_unnamed(self, seals: Iterable[Seal]) -> None:
        named = {_object(name, file) for seal in seals for name, file in seal.files.items()}
        self.objects.remove(f"{OBJECTS}/{name}" for name in self._sizes() if name not in named)


def _place(seal: str) -> str:
    return seal if seal == FINISHED else f"{CHECKPOINTS}/{seal}"


def _step(seal: str) -> str:
    return seal.partition("-")[0]


def _object(name: str, file: StoredFile) -> str:
    """Return a file's name among the objects: its digest decides, its own name is for people."""
    return f"{file.sha256[:32]}-{name.rpartition('/')[2]}"


def _seal_of(files: Mapping[str, Path]) -> Seal:
    stored = {
        name: StoredFile(sha256=sha256_file(path), bytes=path.stat().st_size)
        for name, path in files.items()
    }
    return Seal(files=stored)


def _bytes_of(seal: Seal) -> bytes:
    return json.dumps(seal.model_dump(), indent=1, sort_keys=True).encode()


def _lacking(seal: Seal, folder: Path, keep: frozenset[str]) -> list[str]:
    """Return the files of a copy that a folder lacks; of a folder within it all or none."""
    lacking = {name for name, file in seal.files.items() if not _there(folder / name, file)}
    lacking -= {name for name in keep if (folder / name).exists()}
    folders = {name.rpartition("/")[0] for name in lacking} - {""}
    return sorted(lacking | {name for name in seal.files if name.rpartition("/")[0] in folders})


def _there(path: Path, file: StoredFile) -> bool:
    try:
        return path.stat().st_size == file.bytes and sha256_file(path) == file.sha256
    except OSError:
        return False


@contextmanager
def _folder_beside(folder: Path) -> Iterator[Path]:
    """Yield an empty folder within a run's; what a killed process left in it is removed first."""
    arriving = folder / ".arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    try:
        yield arriving
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def _settle(arriving: Path, folder: Path) -> None:
    """Give what has arrived its names: single files first, then whole folders."""
    for path in arriving.iterdir():
        if path.is_file():
            os.replace(path, folder / path.name)

    for path in arriving.glob("*/*"):
        with whole_folder(folder / path.relative_to(arriving)) as target:
            for file in path.iterdir():
                os.replace(file, target / file.name)
