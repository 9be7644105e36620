"""A source as one tree: a folder, with the official archives in it read in place under the paths
they unpack to.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import UserError, shortened
from pipeline.datasets.source.folder import walk
from pipeline.datasets.source.members import ArchiveMember, members_of
from pipeline.datasets.source.tree import Filed, Tree, is_archive, is_hidden

LONGEST_PATH = 4096
"""Letters of a path; file systems take no longer ones, and every part of it would be a folder here.
"""


class Archive(NamedTuple):
    """What an official archive holds, and where that belongs in the layout.

    `fills` are the names under the root that must not lie there as well, `at` the folder that the
    members go to, `top` a folder around all of them that is no part of the layout. With `nested`, a
    member NAME.tar is the folder NAME.
    """

    fills: tuple[str, ...]
    at: str = ""
    top: str = ""
    nested: bool = False


def open_source(
    root: Path,
    official: Mapping[str, Archive],
    only: Collection[str] | None = None,
    follow_links: bool = False,
) -> Tree:
    """List a folder with the official archives in it, or one such archive.

    Args:
        root: the folder or the archive.
        official: the data set's archives by name.
        only: names of archives in the folder that are taken; nothing else there is looked at.
        follow_links: follow links that lead out of the folder.

    Raises:
        UserError: nothing is there, a part is there twice, or an archive is cut off or damaged.
    """
    if root.is_file():
        if root.name not in official:
            raise UserError(
                f"{root} is a file, but none of the archives that are read: {', '.join(official)}"
            )
        tree = Tree(root)
        archives = [root.absolute()]
    elif not root.is_dir():
        raise UserError(f"the folder {root} does not exist")
    elif only is not None:
        tree = Tree(root)
        archives = [root.absolute() / name for name in only]
    else:
        tree = walk(root, official, follow_links)
        archives = [
            root.absolute() / name for name in official if tree.files.pop(name, None) is not None
        ]
        _check_parts(tree, official, [path.name for path in archives])

    for path in archives:
        _add(tree, path, official[path.name])
    tree.files = dict(sorted(tree.files.items()))
    tree.folders = sorted(set(tree.folders))
    return tree


def _check_parts(tree: Tree, official: Mapping[str, Archive], names: Collection[str]) -> None:
    """Stop where a part lies there both packed and unpacked, or where an archive is a link that
    leads astray.
    """
    present = {path.split("/")[0]: path for path in (*tree.files, *tree.folders)}
    for name in names:
        for part in official[name].fills:
            if part in present:
                raise UserError(
                    f"{tree.root} holds both {name} and {part}, which are the same data; keep "
                    "one of them"
                )

    for entry in tree.refused:
        if entry.path in official:
            advice = f" ({entry.detail})" if entry.detail else ""
            raise UserError(
                f"{tree.root / entry.path}: {entry.reason}; put the archive itself there{advice}"
            )


def _add(tree: Tree, path: Path, archive: Archive) -> None:
    """Add an archive's members to the tree under the paths that they have when they are
    unpacked.
    """
    hidden: dict[str, int] = {}
    folders: set[str] = set()

    for member in members_of(path, archive.nested):
        inside = _plain(member.inside)
        name = _plain(member.name)
        if inside is None or name is None:
            full_name = _joined(archive.at, _joined(member.inside, member.name))
            full_name = full_name if len(full_name) <= LONGEST_PATH else shortened(full_name, 200)
            tree.refused.append(Filed(full_name, "unsafe_name", f"in {path.name}"))
            continue
        if inside and f"{name}/".startswith(f"{os.path.basename(inside)}/"):
            # a class tar that holds its folder
            inside = os.path.dirname(inside)

        name = _in_layout(_joined(inside, name), archive)
        if (outermost := _hidden_part(name)) is not None:
            hidden[outermost] = hidden.get(outermost, 0) + (not member.name.endswith("/"))
            continue

        folders.update(_parents(name))
        if member.name.endswith("/"):
            folders.add(name)
        else:
            _add_file(tree, path, name, member)

    tree.folders += sorted(folders - {""})
    tree.ignored += [Filed(name, "hidden", files=count) for name, count in hidden.items()]


def _add_file(tree: Tree, path: Path, name: str, member: ArchiveMember) -> None:
    if member.place is None:
        tree.refused.append(Filed(name, member.refused, member.detail))
    elif name in tree.files:
        raise UserError(
            f"{path} lists {name} twice, or beside another archive that has it; which is meant?"
        )
    elif is_archive(name):
        tree.ignored.append(Filed(name, "nested_archive"))
    else:
        tree.files[name] = member.place


def _plain(name: str) -> str | None:
    """Return a member's name as a plain relative path, or None where it could lead out of a folder
    or is no path.
    """
    if len(name) > LONGEST_PATH:
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    unsafe = (
        name.startswith("/")
        or "\\" in name
        or "\0" in name
        or re.match("[A-Za-z]:", name)
        or ".." in parts
    )

    return None if unsafe else "/".join(parts)


def _in_layout(name: str, archive: Archive) -> str:
    """Return where a member belongs in the layout."""
    if archive.top and (name == archive.top or name.startswith(archive.top + "/")):
        name = name[len(archive.top) + 1 :]
    return _joined(archive.at, name)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _hidden_part(path: str) -> str | None:
    """Return the path up to its first hidden part, if it has one."""
    parts = path.split("/")
    return next(("/".join(parts[: i + 1]) for i, part in enumerate(parts) if is_hidden(part)), None)


def _parents(path: str) -> list[str]:
    """Return the folders that hold a path."""
    parents = []
    while path := os.path.dirname(path):
        parents.append(path)
    return parents
