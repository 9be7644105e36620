"""A folder as a tree. Nothing is opened but directories."""

import os
from collections.abc import Collection
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.datasets.source.place import Whole
from pipeline.datasets.source.tree import Filed, Tree, is_archive, is_hidden

FOLLOWED = "data.<name>.follow_links: true follows it"


def walk(root: Path, archives: Collection[str] = (), follow_links: bool = False) -> Tree:
    """List a folder to its depth, sorted by path; links are followed where they stay inside, or are
    allowed to leave.

    Args:
        root: the folder.
        archives: names of archives directly in it that are wanted; all others are ignored.
        follow_links: follow links that lead out of the folder too.

    Raises:
        UserError: a folder cannot be read.
    """
    tree = Tree(root)
    top = os.path.realpath(root)
    _walk(tree, top, "", (top,), archives, follow_links)
    tree.files = dict(sorted(tree.files.items()))
    tree.folders.sort()
    return tree


def _walk(
    tree: Tree,
    top: str,
    inside: str,
    chain: tuple[str, ...],
    archives: Collection[str],
    follow_links: bool,
) -> None:
    """Add one folder; `chain` holds the real paths from the root to it, so that loops are seen."""
    try:
        entries = list(os.scandir(os.path.join(top, inside)))
    except OSError as error:
        raise UserError(f"cannot list {os.path.join(top, inside)}: {error.strerror}") from None
    for entry in entries:
        path = f"{inside}/{entry.name}" if inside else entry.name
        real = (
            os.path.realpath(entry.path)
            if entry.is_symlink()
            else os.path.join(chain[-1], entry.name)
        )

        if is_hidden(entry.name):
            tree.ignored.append(Filed(path, "hidden", files=_count(entry)))
        elif (reason := _bad_link(entry, real, top, chain, follow_links)) is not None:
            tree.refused.append(Filed(path, reason, FOLLOWED if reason == "link_outside" else ""))
        elif entry.is_dir():
            tree.folders.append(path)
            _walk(tree, top, path, (*chain, real), archives, follow_links)
        elif not entry.is_file():
            tree.refused.append(Filed(path, "not_a_file"))
        elif is_archive(entry.name) and path not in archives:
            tree.ignored.append(Filed(path, "nested_archive"))
        else:
            tree.files[path] = Whole(os.path.join(top, path), entry.stat().st_size)


def _bad_link(
    entry: "os.DirEntry[str]", real: str, top: str, chain: tuple[str, ...], follow_links: bool
) -> str | None:
    """Return why a link is not followed, or None."""
    if not entry.is_symlink():
        return None
    if not os.path.exists(real):
        return "dangling_link"
    if not follow_links and real != top and not real.startswith(top + os.sep):
        return "link_outside"
    return (
        "link_loop"
        if any(f"{folder}{os.sep}".startswith(real + os.sep) for folder in chain)
        else None
    )


def _count(entry: "os.DirEntry[str]") -> int:
    """Count the files of an ignored entry: one, or all below a folder."""
    if not entry.is_dir(follow_symlinks=False):
        return 1
    return sum(len(files) for _, _, files in os.walk(entry.path))
