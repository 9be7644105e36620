"""From a listing to a folder of shards: one Ray task a shard, and the same bytes however many run at once.

Which samples a shard is offered follows from the listing alone; a file that turns out unusable is left out of its own
shard and moves no other sample.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.datasets import Filed, Listing, Sample, dataset
from pipeline.datasets.images import REPAIR_QUALITY
from pipeline.datasets.source.place import Place
from pipeline.errors import UserError
from pipeline.files import sha256_file, whole_folder, write_text
from pipeline.params import Shard
from pipeline.shards import manifest as parts
from pipeline.shards.manifest import Manifest
from pipeline.shards.pool import run_tasks
from pipeline.shards.task import Done, Work
from pipeline.shards.writer import INDEX_TYPE


def build(
    name: str, listing: Listing, params: Shard, folder: Path, inventory: str, in_flight: int | None = None
) -> Manifest:
    """Write all shards of a data set and their manifest; the folder appears whole or not at all.

    Needs a Ray that is connected. Progress goes to stderr.

    Args:
        name: imagenet, coco or ade20k.
        listing: what the raw folder holds.
        params: the section `shard`.
        folder: the folder to write, e.g. data/shards/imagenet.
        inventory: digest of the listing, kept in the manifest.
        in_flight: tasks submitted at once; two for each CPU of the cluster where None.

    Raises:
        UserError: more files are quarantined than allowed (all are listed), the disk is full, or a file is unreadable.
    """
    _check_room(listing, folder)
    with whole_folder(folder) as beside:
        works = [work for split in listing.splits for work in _plan(name, listing, split, params, beside)]
        done = run_tasks(works, in_flight, f"shard {name}")
        inputs = _inputs(listing, done)
        _check_quarantined(inputs, params.max_quarantined)
        manifest = Manifest(
            dataset=name,
            classes=[parts.ClassEntry(id=entry.id, name=entry.name) for entry in listing.classes],
            target=parts.Target.model_validate({"member": dataset(name).MEMBER, "ignore": dataset(name).IGNORE}),
            images=_images(works[0]),
            splits={split: _split(listing, beside, split, works, done) for split in listing.splits},  # type: ignore[misc]
            inputs=inputs,
            inventory=inventory,
            real_labels=_real_labels(listing, beside, works, done),
        )
        manifest.save(beside)
        _sweep(beside, manifest)
    return manifest


def _plan(name: str, listing: Listing, split: str, params: Shard, beside: Path) -> list[Work]:
    """Cut a split into shards of equal size, the last one smaller."""
    module, samples = dataset(name), listing.splits[split]
    if module.shuffled(split):  # by a digest, so that the order depends on the names alone and not on any library
        samples = sorted(samples, key=lambda sample: hashlib.sha256(sample.key.encode()).digest())
    size = params.samples_per_shard
    short_side = params.short_side if module.RESIZABLE else None
    return [
        Work(
            dataset=name,
            path=beside.absolute() / split / f"{start // size:06d}.tar",
            samples=samples[start : start + size],
            places=_places(listing, samples[start : start + size]),
            classes=listing.classes,
            max_pixels=params.max_pixels,
            short_side=short_side,
            jpeg_quality=params.jpeg_quality,
        )
        for start in range(0, len(samples), size)
    ]


def _places(listing: Listing, samples: Sequence[Sample]) -> dict[str, Place]:
    """Return where the files of some samples lie."""
    return {path: listing.tree.files[path] for sample in samples for path in listing.files_of(sample)}


def _images(work: Work) -> parts.Images:
    """Return how images were treated."""
    quality = work.jpeg_quality if work.short_side is not None else None
    return parts.Images(short_side=work.short_side, jpeg_quality=quality, repair_quality=REPAIR_QUALITY)


def _split(listing: Listing, beside: Path, split: str, works: Sequence[Work], done: Sequence[Done]) -> parts.SplitEntry:
    """Join a split's shards and write the index that covers them."""
    mine = [(work, result.written) for work, result in zip(works, done, strict=True)
            if result.written is not None and work.path.parent.name == split]  # fmt: skip
    if not mine:
        raise UserError(f"{listing.root}: no image of split {split!r} is usable")
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
    np.save(path, np.concatenate([written.index for _, written in mine if written is not None], dtype=INDEX_TYPE))
    index = parts.IndexEntry(name=path.name, sha256=sha256_file(path), bytes=path.stat().st_size)
    return parts.SplitEntry(samples=sum(shard.samples for shard in shards), shards=shards, index=index)


def _real_labels(
    listing: Listing, beside: Path, works: Sequence[Work], done: Sequence[Done]
) -> parts.RealLabelsEntry | None:
    """Write the reassessed labels of the samples that are in the validation shards, where there are any."""
    if listing.real is None:
        return None
    refused = {entry.path for result in done for entry in result.quarantined}
    val = (sample for work in works if work.path.parent.name == "val" for sample in work.samples)
    labels = {sample.key: listing.real.labels[sample.key] for sample in val if sample.image not in refused}
    path = beside / parts.REAL_LABELS
    write_text(path, json.dumps(labels, sort_keys=True, separators=(",", ":")) + "\n")
    return parts.RealLabelsEntry(name=parts.REAL_LABELS, sha256=sha256_file(path), bytes=path.stat().st_size)


def _inputs(listing: Listing, done: Sequence[Done]) -> parts.Inputs:
    """Return the buckets of all inputs, from the listing and from every task."""
    repaired = sorted(entry for result in done for entry in result.repaired)
    quarantined = sorted([*listing.quarantined, *(entry for result in done for entry in result.quarantined)])
    inputs = parts.Inputs(
        listed=listing.listed,
        kept=len(listing.metadata) + sum(result.kept for result in done),
        repaired=[parts.InputEntry(**entry._asdict()) for entry in repaired],
        quarantined=[parts.InputEntry(**entry._asdict()) for entry in quarantined],
        ignored=sum(entry.files for entry in listing.ignored),
    )
    found = inputs.kept + len(repaired) + sum(entry.files for entry in quarantined) + inputs.ignored
    if found != inputs.listed:
        raise RuntimeError(f"{inputs.listed} inputs listed, {found} in the buckets")
    return inputs


def _check_quarantined(inputs: parts.Inputs, allowed: int) -> None:
    """Name every quarantined file, then stop where there are too many."""
    for entry in inputs.quarantined:
        print(f"quarantined: {Filed(**entry.model_dump())}", file=sys.stderr)
    if len(inputs.quarantined) > allowed:
        raise UserError(
            f"{len(inputs.quarantined)} of {inputs.listed} files are unusable, each named above, and "
            f"shard.max_quarantined allows {allowed}; mend them, or allow as many"
        )


def _sweep(beside: Path, manifest: Manifest) -> None:
    """Remove shards without samples, and what a killed and repeated task may have left."""
    known = {f"{split}/{shard.name}" for split, entry in manifest.splits.items() for shard in entry.shards}
    for path in beside.glob("*/*"):
        if str(path.relative_to(beside)) not in known:
            path.unlink()


def _check_room(listing: Listing, folder: Path) -> None:
    """Stop before any work where the disk cannot hold the shards: the input's bytes and two headers a sample."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    samples = sum(len(part) for part in listing.splits.values())
    needed = sum(place.size for place in listing.tree.files.values()) + 2048 * samples
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(f"{folder.parent} has {free / 1e9:.1f} GB free, the shards need up to {needed / 1e9:.1f} GB")
