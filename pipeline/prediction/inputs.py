"""Which pictures the words of a command line stand for."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PATTERN = set("*?[")


class Input(NamedTuple):
    """A picture to be read, and the name of what is written about it."""

    path: Path
    name: Path


def inputs_of(words: Iterable[str], out: Path) -> list[Input]:
    """Return the files that words name, in their order, none of them twice.

    A word is a file, a folder (with all that is in it, hidden files apart), or a pattern where it
    is neither. What is not there is returned as it is, for its reader to say so.

    Args:
        words: as typed.
        out: the folder that is written to; what lies in it is no input.
    """
    inputs: dict[Path, Input] = {}
    taken: set[Path] = set()
    for word in words:
        for path, name in _files(word):
            resolved = path.resolve()
            if resolved not in inputs and not resolved.is_relative_to(out.resolve()):
                inputs[resolved] = Input(path, _free(name, taken))
    return list(inputs.values())


def _files(word: str) -> Iterator[tuple[Path, Path]]:
    """Yield files and their names: within a folder their way from there, else their last name."""
    path = Path(word)
    if path.is_dir():
        yield from ((file, file.relative_to(path)) for file in _within(path))
    elif PATTERN & set(word) and not path.exists():
        matching = sorted(Path(match) for match in glob.glob(word, recursive=True))
        for match in matching or [path]:
            if not (matching and match.is_dir()):
                yield match, Path(match.name)
    else:
        yield path, Path(path.name)


def _within(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; what is hidden is left alone."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _free(name: Path, taken: set[Path]) -> Path:
    """Return the name, numbered where an earlier picture has it."""
    chosen = name
    number = 2
    while chosen in taken:
        chosen = name.with_name(f"{name.name}-{number}")
        number += 1
    taken.add(chosen)
    return chosen
