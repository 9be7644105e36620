"""What one Ray task does: check, mend and store the samples of one shard."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets import Class, Filed, Sample, dataset
from pipeline.datasets.images import RefusedError, check
from pipeline.datasets.source.place import Place
from pipeline.shards.writer import Member, Written, write_shard


@dataclass(frozen=True)
class Work:
    """What a task is told: the samples of a shard, and how to treat them."""

    dataset: str
    path: Path
    samples: list[Sample]
    places: dict[str, Place]
    classes: list[Class]
    max_pixels: int
    short_side: int | None
    jpeg_quality: int


@dataclass
class Done:
    """What a task returns: the shard (None where no sample was usable) and the bucket of each of its files."""

    written: Written | None = None
    kept: int = 0
    repaired: list[Filed] = field(default_factory=list)
    quarantined: list[Filed] = field(default_factory=list)


def write(work: Work) -> Done:
    """Write one shard, leaving out the samples that turn out unusable.

    Raises:
        OSError: a file cannot be read or written.
    """
    done = Done()
    work.path.parent.mkdir(exist_ok=True)
    written = write_shard(work.path, _members(work, done), dataset(work.dataset).MEMBER, len(work.classes))
    done.written = written if len(written.index) else None
    return done


def _members(work: Work, done: Done) -> Iterator[Member]:
    """Yield the usable samples; note in `done` what became of every file."""
    module = dataset(work.dataset)

    def read(path: str) -> bytes:
        return work.places[path].read()

    for sample in work.samples:
        mask = [sample.target] if isinstance(sample.target, str) else []
        culprit, partners = sample.image, mask
        try:
            data = read(sample.image)
            image = check(sample.image, data, work.max_pixels, work.short_side, work.jpeg_quality)
            if mask:
                culprit, partners = mask[0], [sample.image]
            size = (image.width, image.height)
            target, shown = module.target_bytes(read, sample, size, work.classes, work.max_pixels)
        except RefusedError as error:
            done.quarantined.append(Filed(culprit, error.reason, error.detail))
            done.quarantined.extend(Filed(path, "partner_quarantined", culprit) for path in partners)
            continue
        if image.repaired is not None:
            done.repaired.append(Filed(sample.image, image.repaired))
        done.kept += len(mask) + (image.repaired is None)
        yield Member(sample.key, image.data, target, tuple(shown))
