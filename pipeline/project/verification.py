"""Every byte that DVC keeps for a project, held against its digest.

DVC itself looks at a file's size and time, and believes its cache: a bit that flips on a disk is
used in silence.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.params.reading import read_tree

CACHE = Path(".dvc/cache/files/md5")
LISTING = ".dir"


@dataclass(frozen=True)
class KeptFile:
    """A file and the MD5 that it must have."""

    path: Path
    md5: str
    remedy: str

    def damage(self) -> str | None:
        """Return in a sentence what is wrong with it; None where every byte is as it was."""
        if not self.path.is_file():
            return f"{self.path} is missing; {self.remedy}"
        with open(self.path, "rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 == self.md5:
            return None
        return f"{self.path} is not what it was (MD5 {md5}, not {self.md5}); {self.remedy}"


@dataclass
class KeptFiles:
    """What a project keeps: files to look at, and outputs that are not here."""

    files: list[KeptFile] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Sentences about what is wrong before any file is read."""

    def damages(self, show: Callable[[int], None] = lambda done: None) -> Iterator[str]:
        """Read every file; return a sentence for each that is not what it was.

        Args:
            show: told how many bytes have been read.
        """
        yield from self.wrong
        done = 0
        for file in self.files:
            if (sentence := file.damage()) is not None:
                yield sentence
            done += _size(file.path)
            show(done)

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(_size(file.path) for file in self.files)


def kept(project: Path) -> KeptFiles:
    """Return what dvc.lock and DVC's cache say of the files of a project.

    Raises:
        UserError: dvc.lock is not there, or cannot be read.
    """
    kept_files = KeptFiles()
    stages = read_tree(project / "dvc.lock").get("stages", {})

    for out in (out for stage in stages.values() for out in stage.get("outs", [])):
        try:
            _add(kept_files, project, str(out["path"]), str(out["md5"]))
        except (KeyError, TypeError):
            raise UserError(
                f"{project / 'dvc.lock'} has an output without path or md5; take it from git again"
            ) from None

    for path in sorted((project / CACHE).glob("??/*")):
        md5 = f"{path.parent.name}{path.name}".removesuffix(LISTING)
        remedy = "remove it, then `dvc repro` or `dvc fetch` bring it again"
        kept_files.files.append(KeptFile(path, md5, remedy))

    return kept_files


def _add(kept_files: KeptFiles, project: Path, out: str, md5: str) -> None:
    """Take note of one output: a file, or a folder with what its listing names."""
    path = project / out
    if not path.exists():
        kept_files.absent.append(out)
        return
    remedy = f"`dvc checkout --force {out}` brings the one of the cache"
    if not md5.endswith(LISTING):
        kept_files.files.append(KeptFile(path, md5, remedy))
        return

    listing = _listing(project / CACHE / md5[:2] / md5[2:], md5)
    if listing is None:
        kept_files.wrong.append(
            f"{out}: nothing in DVC's cache says which files belong to it; `dvc fetch {out}`, or "
            "make it again with `dvc repro`"
        )
        return

    kept_files.files += [KeptFile(path / name, each, remedy) for name, each in listing.items()]
    more = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    kept_files.wrong += [
        f"{path / name} belongs to no stage; remove it, or run `dvc repro`"
        for name in sorted(more - listing.keys())
    ]


def _listing(path: Path, md5: str) -> dict[str, str] | None:
    """Return the MD5 of each file of a folder by its name, as DVC wrote it down; None where that is
    missing or is not what it was.
    """
    try:
        text = path.read_bytes()
    except OSError:
        return None
    if hashlib.md5(text, usedforsecurity=False).hexdigest() != md5.removesuffix(LISTING):
        return None
    return {entry["relpath"]: entry["md5"] for entry in json.loads(text)}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
