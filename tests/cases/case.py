"""A case: a small input that somebody brought, what the stages are to make of it, and what they
make of it.

A module of cases holds `CASES`, a list; what it draws is all its own. `python -m tests.cases`
prints the table.
"""

import contextlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import yaml

from pipeline.core.errors import UserError
from pipeline.datasets.inventory import resolve
from pipeline.fetch import fetch
from pipeline.params import load
from pipeline.project.call import Call, Folders
from pipeline.shards import Manifest, ShardReader, verify
from pipeline.shards.build import build
from tests.helpers import one_by_one


@dataclass(frozen=True)
class Outcome:
    """What became of an input, or what should.

    As what should: `refused` are parts of the sentence that a stage stops with (empty: none stops,
    and the counts hold); `noted` and `warned` are what must be there at least, all else must be
    equal.
    """

    train: int = 0
    val: int = 0
    repaired: Mapping[str, str] = field(default_factory=dict)
    quarantined: Mapping[str, str] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)
    warned: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return one short line."""
        if self.refused:
            return "stops: " + " .. ".join(self.refused)
        words = [f"{self.train} + {self.val}"]
        for name in ("repaired", "quarantined", "noted"):
            entries = getattr(self, name)
            words += (
                [f"{name} {', '.join(f'{key}: {value}' for key, value in entries.items())}"]
                if entries
                else []
            )
        return "; ".join([*words, *(f"warns: {text}" for text in self.warned)])


def kept(train: int, val: int, **more: Any) -> Outcome:
    """Return the outcome that so many samples are in the shards; `more` says what else is seen of
    the files.
    """
    return Outcome(train, val, **more)


def refused(*parts: str) -> Outcome:
    """Return the outcome that fetch or shard stops with a sentence that holds all of `parts`."""
    return Outcome(refused=parts)


class Made(NamedTuple):
    """What the stages made, for a check of one's own."""

    source: Path
    folder: Path
    manifest: Manifest

    def samples(self, split: str) -> list[dict[str, Any]]:
        """Return the samples of a split as the reader gives them."""
        reader = ShardReader(self.folder, split)
        return [
            reader.read(shard, i)
            for shard, size in enumerate(reader.shard_sizes)
            for i in range(size)
        ]


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        name: what the table calls it.
        dataset: imagenet, coco or ade20k.
        draw: fills an empty folder, which becomes the source.
        right: what the stages are to make of it.
        settings: parameters beside the source, e.g. `{"data.coco.limit": {"val": 3},
            "shard.max_quarantined": 5}`.
        check: returns what is wrong with the shards, or an empty text; only where no stage stops.
    """

    name: str
    dataset: str
    draw: Callable[[Path], None]
    right: Outcome
    settings: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Made], str] | None = None


class Verdict(NamedTuple):
    """What happened, and whether it is right."""

    seen: Outcome
    wrong: str

    @property
    def ok(self) -> bool:
        """Whether what happened is right."""
        return not self.wrong


def run(case: Case, scratch: Path) -> Verdict:
    """Draw a case into an empty folder, run fetch and shard on it in this process, and compare.

    Any exception but a sentence for the user is a wrong result too.
    """
    source = scratch / "source"
    source.mkdir(parents=True)
    case.draw(source)
    try:
        made, seen = _stages(case, source, scratch)
    except UserError as error:
        seen = Outcome(refused=(_printable(str(error)),))
        return Verdict(seen, _stopped(case.right, seen))
    except Exception as error:  # whatever escapes would reach a user as a traceback
        return Verdict(
            Outcome(refused=(f"{type(error).__name__}: {error}",)), f"raises {type(error).__name__}"
        )
    wrong = _differs(case.right, seen)
    if not wrong and case.check is not None:
        wrong = case.check(made)
    return Verdict(seen, wrong)


def _stages(case: Case, source: Path, scratch: Path) -> tuple[Made, Outcome]:
    """Run fetch and shard, read everything back, and return what is there."""
    call = _call(case, source, scratch)
    printed = io.StringIO()
    name, folder = case.dataset, call.folders.shards(case.dataset)
    with contextlib.redirect_stdout(printed):
        fetch(call, name)
    inventory = json.loads(call.folders.raw(name).read_text(encoding="utf-8"))
    listing = resolve(name, call.params, call.project)
    if listing.digest() != inventory["digest"]:
        raise RuntimeError("two listings of one source differ")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            build(name, listing, call.params.shard, folder, inventory["digest"], run=one_by_one)
    except UserError as error:
        raise UserError(f"{errors.getvalue()} {error}") from None
    if problems := verify(folder):
        raise RuntimeError(f"the shards do not verify: {problems[0]}")
    manifest = Manifest.load(folder)
    made = Made(source, folder, manifest)
    counts = {split: len(made.samples(split)) for split in manifest.splits}
    return made, Outcome(
        counts.get("train", 0),
        counts.get("val", 0),
        repaired={entry.path: entry.reason for entry in manifest.inputs.repaired},
        quarantined={entry.path: entry.reason for entry in manifest.inputs.quarantined},
        noted={code: note.count for code, note in manifest.inputs.notes.items()},
        warned=tuple(
            line for line in printed.getvalue().splitlines() if line.startswith("warning: ")
        ),
    )


def _call(case: Case, source: Path, scratch: Path) -> Call:
    """Return the call of a stage with the case's settings, in a project of its own."""
    tree: dict[str, Any] = {"data": {case.dataset: {"source": str(source)}}}
    for dotted, value in case.settings.items():
        *sections, last = dotted.split(".")
        section = tree
        for key in sections:
            section = section.setdefault(key, {})
        section[last] = value
    params = scratch / "params.yaml"
    params.write_text(yaml.safe_dump(tree), encoding="utf-8")
    args = cast(Any, SimpleNamespace(params=None, set=[], out=None))
    return Call(args, load(params), scratch, Folders(scratch))


def _stopped(right: Outcome, seen: Outcome) -> str:
    """Return what is wrong with having stopped."""
    sentence = seen.refused[0]
    if not right.refused:
        return "stops"
    lacking = [part for part in right.refused if part not in sentence]
    return f"the sentence lacks {lacking}" if lacking else ""


def _differs(right: Outcome, seen: Outcome) -> str:
    """Return in what an outcome differs from what is right."""
    if right.refused:
        return "does not stop"
    least = replace(
        seen,
        noted={code: seen.noted.get(code, 0) for code in right.noted},
        warned=tuple(text for text in right.warned if any(text in line for line in seen.warned)),
    )
    names = [name for name in vars(right) if getattr(least, name) != getattr(right, name)]
    return ", ".join(f"{name}: {getattr(seen, name)}" for name in names)


def _printable(text: str) -> str:
    return os.fsencode(text).decode(errors="backslashreplace").replace("\n", " ")
