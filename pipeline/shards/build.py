"""From a listing to a folder of shards: one Ray task a shard, and the same bytes however many run
at once.

Which samples a shard is offered follows from the listing alone; a file that turns out unusable is
left out of its own shard and moves no other sample.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.core import failpoints
from pipeline.core.errors import FULL, DiskFull, UserError
from pipeline.core.files import sha256_file, write_text
from pipeline.datasets.base import dataset, in_shard_order
from pipeline.datasets.images import REPAIR_QUALITY
from pipeline.datasets.listing import Listing, Sample
from pipeline.datasets.notes import brief
from pipeline.datasets.source.place import FilePlace
from pipeline.datasets.targets import Tally
from pipeline.params import Shard
from pipeline.params.registry import datasets
from pipeline.shards import manifest as parts
from pipeline.shards.inputs import account, account_targets
from pipeline.shards.manifest import Manifest
from pipeline.shards.pool import run_tasks
from pipeline.shards.task import Done, ShardWork
from pipeline.shards.writer import INDEX_TYPE

Runner = Callable[[Sequence[ShardWork], int | None, str], list[Done]]


def build(
    name: str,
    listing: Listing,
    params: Shard,
    folder: Path,
    inventory: str,
    in_flight: int | None = None,
    run: Runner = run_tasks,
) -> Manifest:
    """Write all shards of a data set and their manifest; the folder appears whole or not at all.

    Shards grow in `.NAME.partial` beside the folder, each sealed when it is finished. A call that
    ends early leaves them there, and the next one writes only what lacks or what other inputs,
    parameters or code would make different. Needs a Ray that is connected, where `run` is not
    given. Progress goes to stderr.

    Args:
        name: the data set.
        listing: what the raw folder holds.
        params: the section `shard`.
        folder: the folder to write, e.g. data/shards/imagenet.
        inventory: digest of the listing, kept in the manifest.
        in_flight: tasks submitted at once; two for each CPU of the cluster where None.
        run: takes the tasks, `in_flight` and a label, and returns the results in order.

    Raises:
        UserError: more files are quarantined or more annotations lost than allowed, the disk is
            full, or a file is unreadable.
    """
    folder = folder.absolute()
    partial, old = (folder.with_name(f".{folder.name}.{word}") for word in ("partial", "old"))
    beside = partial / "shards"
    if old.exists() and not folder.exists():  # killed between the two renames of `_publish`
        os.rename(old, folder)

    try:
        _check_room(listing, partial)
        works = [
            work
            for split in listing.splits
            for work in _plan(name, listing, split, params, partial)
        ]
        _sweep(beside, {work.path for work in works})

        done = run(works, in_flight, f"shard {name}")
        inputs = account(listing, works, done, params.max_quarantined)
        tallies = {}
        if datasets()[name].target != "cls":
            tallies = account_targets(listing, works, done, params.max_dropped_annotations)

        # only now is it known which shards have no sample left
        _sweep(
            beside,
            {
                work.path
                for work, result in zip(works, done, strict=True)
                if result.written is not None
            },
        )

        manifest = Manifest(
            dataset=name,
            classes=[parts.ClassEntry(id=entry.id, name=entry.name) for entry in listing.classes],
            target=parts.TargetEntry.model_validate(
                {"member": datasets()[name].target, "ignore": dataset(name).IGNORE}
            ),
            images=_images(works[0]),
            splits={
                split: _split(listing, beside, split, works, done, tallies.get(split))  # type: ignore[misc]
                for split in listing.splits
            },
            inputs=inputs,
            inventory=inventory,
            real_labels=_real_labels(listing, beside, works, done),
        )

        failpoints.reach("shards.joined")
        # the manifest comes last: a folder that has one is whole
        manifest.save(beside)
        _publish(beside, folder, old)
        shutil.rmtree(partial)
    except OSError as error:
        raise _sentence(error, listing, partial) from None
    return manifest


def _publish(beside: Path, folder: Path, old: Path) -> None:
    """Put a whole folder in its place; what was there moves away first and goes last."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(beside, folder)
    failpoints.reach("shards.renamed")
    shutil.rmtree(old, ignore_errors=True)


def _plan(name: str, listing: Listing, split: str, params: Shard, partial: Path) -> list[ShardWork]:
    """Cut a split into shards of equal size, the last one smaller."""
    module = dataset(name)
    samples = in_shard_order(name, split, listing.splits[split])
    size = params.samples_per_shard
    short_side = params.short_side if module.RESIZABLE else None

    return [
        ShardWork(
            dataset=name,
            path=partial / "shards" / split / f"{start // size:06d}.tar",
            samples=samples[start : start + size],
            places=_places(listing, samples[start : start + size]),
            classes=listing.classes,
            max_pixels=params.max_pixels,
            short_side=short_side,
            jpeg_quality=params.jpeg_quality,
            seal=partial / "seals" / split / f"{start // size:06d}.json",
        )
        for start in range(0, len(samples), size)
    ]


def _places(listing: Listing, samples: Sequence[Sample]) -> dict[str, FilePlace]:
    """Return where the files of some samples lie."""
    return {
        path: listing.tree.files[path] for sample in samples for path in listing.files_of(sample)
    }


def _images(work: ShardWork) -> parts.Images:
    """Return how images were treated."""
    quality = work.jpeg_quality if work.short_side is not None else None
    return parts.Images(
        short_side=work.short_side, jpeg_quality=quality, repair_quality=REPAIR_QUALITY
    )


def _split(
    listing: Listing,
    beside: Path,
    split: str,
    works: Sequence[ShardWork],
    done: Sequence[Done],
    tally: Tally | None,
) -> parts.SplitEntry:
    """Join a split's shards and write the index that covers them."""
    mine = [
        (work, result.written)
        for work, result in zip(works, done, strict=True)
        if result.written is not None and work.split == split
    ]

    if not mine:
        refused = [
            entry
            for work, result in zip(works, done, strict=True)
            if work.split == split
            for entry in result.quarantined
        ]
        raise UserError(
            f"{listing.root}: no image of split {split!r} is usable: {brief(refused)}; mend "
            "these files"
        )

    shards = [
        parts.ShardEntry(
            name=work.path.name,
            sha256=written.sha256,
            bytes=written.bytes,
            samples=len(written.index),
            classes=written.classes,
        )
        for work, written in mine
        if written is not None
    ]

    path = beside / f"{split}.index.npy"
    np.save(
        path,
        np.concatenate(
            [written.index for _, written in mine if written is not None], dtype=INDEX_TYPE
        ),
    )
    index = parts.IndexEntry(name=path.name, sha256=sha256_file(path), bytes=path.stat().st_size)

    return parts.SplitEntry(
        samples=sum(shard.samples for shard in shards),
        shards=shards,
        index=index,
        targets=parts.TargetsEntry.model_validate(tally.record()) if tally is not None else None,
    )


def _real_labels(
    listing: Listing, beside: Path, works: Sequence[ShardWork], done: Sequence[Done]
) -> parts.RealLabelsEntry | None:
    """Write the reassessed labels of the samples that are in the validation shards, where there are
    any.
    """
    if listing.real is None:
        return None

    refused = {entry.path for result in done for entry in result.quarantined}
    val = (sample for work in works if work.path.parent.name == "val" for sample in work.samples)
    labels = {
        sample.key: listing.real.labels[sample.key] for sample in val if sample.image not in refused
    }

    path = beside / parts.REAL_LABELS
    write_text(path, json.dumps(labels, sort_keys=True, separators=(",", ":")) + "\n")
    return parts.RealLabelsEntry(
        name=parts.REAL_LABELS, sha256=sha256_file(path), bytes=path.stat().st_size
    )


def _sweep(beside: Path, keep: set[Path]) -> None:
    """Remove what is not in `keep`: shards without samples or of another plan, and what a kill
    left.
    """
    for path in list(beside.rglob("*")):
        if path.is_file() and path not in keep:
            path.unlink()


def _needed(listing: Listing) -> int:
    """Return the bytes that the shards may take: the input's and two headers a sample."""
    samples = sum(len(entries) for entries in listing.splits.values())
    return sum(place.size for place in listing.tree.files.values()) + 2048 * samples


def _check_room(listing: Listing, partial: Path) -> None:
    """Stop before any work where the disk cannot hold the shards, those that are there already
    included.
    """
    partial.mkdir(parents=True, exist_ok=True)
    needed = _needed(listing)
    free = shutil.disk_usage(partial).free + sum(
        path.stat().st_size for path in partial.rglob("*.tar")
    )

    if needed > free:
        raise UserError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, the shards need up to "
            f"{needed / 1e9:.1f} GB"
        )


def _sentence(error: OSError, listing: Listing, partial: Path) -> UserError:
    """Return what went wrong with which file, and what to do where the disk is full."""
    code = errno.errorcode.get(error.errno or 0, "no errno")
    what = f"{error.filename or partial}: {error.strerror or error} ({code})"

    if error.errno in FULL:
        free = shutil.disk_usage(partial).free
        what += (
            f"; the shards need up to {_needed(listing):,} bytes and {free:,} are free: make "
            "room and give the same "
            "command again, it goes on from the finished shards"
        )
        return DiskFull(what)

    return UserError(what)
