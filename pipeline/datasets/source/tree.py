"""A tree of raw files by their paths in the official layout, whether they lie in folders or in
archives.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.datasets.source.names import escaped, printable
from pipeline.datasets.source.place import FilePlace, Whole

SYSTEM_FILES = ("thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".7z", ".rar")


class Filed(NamedTuple):
    """An input and why it is not simply kept; `files` counts more than one where a whole folder is
    meant.
    """

    path: str
    reason: str
    detail: str = ""
    files: int = 1

    def record(self) -> dict[str, Any]:
        """Return the entry as it stands in inventories and manifests, without empty fields."""
        record: dict[str, Any] = {"path": escaped(self.path), "reason": self.reason}
        if self.detail:
            record["detail"] = escaped(self.detail)
        if self.files != 1:
            record["files"] = self.files
        return record

    def __str__(self) -> str:
        """Return one printable line."""
        return f"{printable(self.path)}: {self.reason}" + (
            f" ({printable(self.detail)})" if self.detail else ""
        )


@dataclass
class Tree:
    """Every file of a source: relative path (with /) to its place; what must not be followed is
    already refused.
    """

    root: Path
    files: dict[str, FilePlace] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    refused: list[Filed] = field(default_factory=list)
    ignored: list[Filed] = field(default_factory=list)

    def under(self, folder: str) -> Iterator[str]:
        """Yield the files below `folder`, at any depth, as paths relative to the root."""
        prefix = folder.rstrip("/") + "/"
        return (path for path in self.files if path.startswith(prefix))

    def folders_in(self, folder: str) -> list[str]:
        """Return the names of the folders directly inside `folder`."""
        prefix = folder.rstrip("/") + "/"
        names = (path[len(prefix) :] for path in self.folders if path.startswith(prefix))
        return [name for name in names if "/" not in name]

    def at_top(self) -> list[str]:
        """Return the names directly under the root, folders with a final /, archives that are not
        read included.
        """
        folders = {path.split("/")[0] + "/" for path in self.folders}
        files = {path for path in self.files if "/" not in path}
        unread = {
            entry.path
            for entry in self.ignored
            if entry.reason == "nested_archive" and "/" not in entry.path
        }
        return sorted(folders | files | unread)

    def where(self, path: str) -> str:
        """Return how to call a file towards people: its path, or its archive and its path in the
        layout.
        """
        place = self.files.get(path)
        return (
            str(self.root / path)
            if place is None or isinstance(place, Whole)
            else f"{place.file} ({path})"
        )


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name belongs to the system and not to the data."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def is_archive(name: str) -> bool:
    """Return whether a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)
