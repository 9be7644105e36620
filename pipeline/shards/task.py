"""What one Ray task does: check, mend and store the samples of one shard."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import failpoints
from pipeline.core.files import digest
from pipeline.datasets.base import dataset
from pipeline.datasets.images import RefusedError, check
from pipeline.datasets.listing import Class, Filed, Sample
from pipeline.datasets.notes import Notes
from pipeline.datasets.source.place import FilePlace
from pipeline.datasets.targets import REFUSED_IMAGE, Tally
from pipeline.params.registry import datasets
from pipeline.shards import duplicates, seal
from pipeline.shards.writer import INDEX_TYPE, ShardMember, Written, write_shard


@dataclass(frozen=True)
class ShardWork:
    """What a task is told: the samples of a shard, how to treat them, and where to seal it (nowhere
    where None).
    """

    dataset: str
    path: Path
    samples: list[Sample]
    places: dict[str, FilePlace]
    classes: list[Class]
    max_pixels: int
    short_side: int | None
    jpeg_quality: int
    seal: Path | None = None

    @property
    def split(self) -> str:
        """The split that the shard belongs to."""
        return self.path.parent.name

    def key(self) -> str:
        """Return a digest of all that decides the shard's bytes; sizes and times stand for the
        content of its files.

        Raises:
            OSError: a file is gone.
        """
        decides = [
            self.dataset,
            self.samples,
            self.classes,
            self.max_pixels,
            self.short_side,
            self.jpeg_quality,
        ]
        sizes = {path: place.size for path, place in self.places.items()}
        times = {
            file: os.stat(file).st_mtime_ns
            for file in {place.file for place in self.places.values()}
        }

        return digest([seal.code(), self.split, *decides, sizes, times])


@dataclass
class Done:
    """What a task returns: the shard (None where no sample was usable) and the bucket of each of
    its files.

    `notes` is what was noticed of files that are in the shard, `tally` what became of their
    annotations, `hashes` a fingerprint of each sample's image.
    """

    written: Written | None = None
    kept: int = 0
    repaired: list[Filed] = field(default_factory=list)
    quarantined: list[Filed] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    hashes: bytes = b""
    tally: Tally = field(default_factory=Tally)

    def record(self) -> dict[str, Any]:
        """Return the same as a JSON value."""
        written = (
            None
            if self.written is None
            else {**vars(self.written), "index": self.written.index.tolist()}
        )

        parts = {
            "notes": vars(self.notes),
            "hashes": self.hashes.hex(),
            "tally": self.tally.record(),
        }

        return {**vars(self), "written": written, **parts}

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Done":
        """Return what `record` was made from."""
        written = record["written"]
        if written is not None:
            rows = np.array([tuple(row) for row in written["index"]], dtype=INDEX_TYPE)
            written = Written(**{**written, "index": rows})

        return cls(
            written=written,
            kept=record["kept"],
            repaired=[Filed(*entry) for entry in record["repaired"]],
            quarantined=[Filed(*entry) for entry in record["quarantined"]],
            notes=Notes(**record["notes"]),
            hashes=bytes.fromhex(record["hashes"]),
            tally=Tally.of(record["tally"]),
        )


def write(work: ShardWork) -> Done:
    """Write one shard, leaving out the samples that turn out unusable; one that is finished and
    sealed stays.

    Raises:
        OSError: a file cannot be read or written; it carries the file's name.
    """
    index = int(work.path.stem)
    failpoints.reach("shard.begun", split=work.split, index=index)
    # before anything is read: what changes from now on counts
    key = work.key() if work.seal is not None else ""

    if work.seal is not None and (record := seal.restore(work.seal, key, work.path)) is not None:
        return Done.of(record)

    done = Done()
    work.path.parent.mkdir(parents=True, exist_ok=True)
    written = write_shard(
        work.path, _members(work, done), datasets()[work.dataset].target, len(work.classes)
    )
    done.written = written if len(written.index) else None
    failpoints.reach("shard.written", split=work.split, index=index)
    if work.seal is not None:
        seal.store(work.seal, key, done.record())
    return done


def _members(work: ShardWork, done: Done) -> Iterator[ShardMember]:
    """Yield the usable samples; note in `done` what became of every file."""
    module = dataset(work.dataset)

    def read(path: str) -> bytes:
        try:
            return work.places[path].read()
        except OSError as error:
            error.filename = error.filename or path
            raise

    for sample in work.samples:
        mask = [sample.target] if isinstance(sample.target, str) else []
        culprit = sample.image
        partners = mask

        try:
            data = read(sample.image)
            image = check(sample.image, data, work.max_pixels, work.short_side, work.jpeg_quality)
            if mask:
                culprit = mask[0]
                partners = [sample.image]
            size = (image.width, image.height)
            target = module.target_bytes(read, sample, size, work.classes, work.max_pixels)
        except RefusedError as error:
            done.hashes += duplicates.NONE
            done.quarantined.append(Filed(culprit, error.reason, error.detail))
            done.quarantined.extend(
                Filed(path, "partner_quarantined", culprit) for path in partners
            )
            done.tally.drop(REFUSED_IMAGE, sample.annotations)
            continue

        done.hashes += duplicates.fingerprint(data)
        for note in image.notes:
            done.notes.add(note, sample.image)
        done.notes.extend(target.notes)
        done.tally.add(target.tally)
        if image.repaired is not None:
            done.repaired.append(Filed(sample.image, image.repaired))
        done.kept += len(mask) + (image.repaired is None)

        yield ShardMember(sample.key, image.data, target.data, tuple(target.classes))
