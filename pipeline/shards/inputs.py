"""The account of all inputs: each in exactly one bucket, and the buckets add up to what was
listed.
"""

import os
import posixpath
import sys
from collections.abc import Iterable, Sequence

from pipeline.core.errors import UserError
from pipeline.datasets.listing import Filed, Listing
from pipeline.datasets.notes import Notes
from pipeline.datasets.refusals import what_helps
from pipeline.datasets.targets import Tally
from pipeline.shards import duplicates
from pipeline.shards import manifest as parts
from pipeline.shards.task import Done, ShardWork

MOST_ROWS = 10_000
MOST_IGNORED = 100
"""Rows of a bucket in the manifest; where there are more, folders stand for their files."""


def account(
    listing: Listing, works: Sequence[ShardWork], done: Sequence[Done], allowed: int
) -> parts.Inputs:
    """Return the buckets and notes of all inputs, from the listing and from every task.

    Raises:
        UserError: more than `allowed` are quarantined; each is named on stderr first.
    """
    repaired = sorted(entry for result in done for entry in result.repaired)
    quarantined = sorted(
        [*listing.quarantined, *(entry for result in done for entry in result.quarantined)]
    )
    kept = len(listing.metadata) + sum(result.kept for result in done)

    counted = kept + _count(repaired) + _count(quarantined) + _count(listing.ignored)
    if counted != listing.listed:
        raise RuntimeError(f"{listing.listed} inputs listed, {counted} in the buckets")
    _check_quarantined(quarantined, listing.listed, allowed)

    return parts.Inputs(
        listed=listing.listed,
        kept=kept,
        repaired=_rows(repaired, MOST_ROWS),
        quarantined=_rows(quarantined, MOST_ROWS),
        ignored=_rows(listing.ignored, MOST_IGNORED),
        notes=_notes(listing, works, done),
    )


def account_targets(
    listing: Listing, works: Sequence[ShardWork], done: Sequence[Done], allowed: float
) -> dict[str, Tally]:
    """Return what became of each split's annotations.

    Raises:
        UserError: a split loses more than the fraction `allowed` of them; reasons and a few
            examples are named.
    """
    tallies = {}
    for split in listing.splits:
        mine = [result for work, result in zip(works, done, strict=True) if work.split == split]
        tally = Tally.sum([listing.tallies.get(split, Tally()), *(result.tally for result in mine)])

        notes = Notes()
        for result in mine:
            notes.extend(result.notes)
        _check_lost(split, tally, notes, allowed)
        tallies[split] = tally

    return tallies


def _check_lost(split: str, tally: Tally, notes: Notes, allowed: float) -> None:
    """Stop where faults keep too many annotations from being seen, or from having a mask."""
    lost = tally.lost
    if (count := sum(lost.values())) > allowed * tally.listed:
        reasons = ", ".join(f"{reason} {number}" for reason, number in lost.items())
        raise UserError(
            f"{split}: {count} of {tally.listed} annotations are lost ({reasons}), e.g. "
            f"{notes.sentence(lost)}; "
            f"shard.max_dropped_annotations allows {allowed:g} of them: mend the file, or raise "
            "it (1 allows all; "
            "docs/annotations.md says what each reason means)"
        )


def grouped(entries: Iterable[Filed], most: int) -> list[Filed]:
    """Return at most `most` entries: where there are more, each folder's files of one reason become
    one entry.
    """
    rows = sorted(entries)
    while len(rows) > most and any(row.path != "./" for row in rows):
        folders: dict[tuple[str, str], int] = {}
        for row in rows:
            folder = (posixpath.dirname(row.path.rstrip("/")) or ".") + "/"
            folders[folder, row.reason] = folders.get((folder, row.reason), 0) + row.files

        rows = sorted(
            Filed(folder, reason, files=files) for (folder, reason), files in folders.items()
        )

    return rows


def _rows(entries: Iterable[Filed], most: int) -> list[parts.InputEntry]:
    """Return a bucket as the manifest holds it; bytes of a name that are not UTF-8 are escaped."""
    return [
        parts.InputEntry(path=_text(path), reason=reason, detail=_text(detail), files=files)
        for path, reason, detail, files in grouped(entries, most)
    ]


def _notes(
    listing: Listing, works: Sequence[ShardWork], done: Sequence[Done]
) -> dict[str, parts.NoteEntry]:
    """Return what was noticed while listing and decoding, and images that are there twice."""
    notes = Notes()
    for partial in (listing.notes, *(result.notes for result in done)):
        notes.extend(partial)

    duplicates.find(
        [result.hashes for result in done],
        [place for work in works for place in _places(work)],
        notes,
    )

    return {
        code: parts.NoteEntry(
            count=count, examples=[_text(example) for example in notes.examples[code]]
        )
        for code, count in sorted(notes.counts.items())
    }


def _places(work: ShardWork) -> Iterable[tuple[str, str]]:
    """Yield each sample's image and where it belongs: its class, or itself where a sample has more
    than a class.
    """
    for sample in work.samples:
        label = sample.target if isinstance(sample.target, int) else sample.key
        yield sample.image, f"{work.split} {label}"


def _count(entries: Iterable[Filed]) -> int:
    return sum(entry.files for entry in entries)


def _text(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _check_quarantined(quarantined: Sequence[Filed], listed: int, allowed: int) -> None:
    """Name every quarantined file, then stop where there are too many."""
    for entry in quarantined:
        print(f"quarantined: {entry}", file=sys.stderr)
    if (count := _count(quarantined)) > allowed:
        raise UserError(
            f"{count} of {listed} files are unusable, each named above, and "
            f"shard.max_quarantined allows {allowed}; "
            f"mend them{what_helps({entry.reason for entry in quarantined})}, or allow as many "
            "(finished shards are "
            "kept, the same command goes on from them)"
        )
