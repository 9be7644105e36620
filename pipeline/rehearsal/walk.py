"""Walking what a params file would train: each training once, the commands under Ray last."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.project.call import Call
from pipeline.rehearsal.data import shards_of
from pipeline.rehearsal.places import PARTS, WalkItem, places_of, spread
from pipeline.rehearsal.small import small
from pipeline.rehearsal.steps import Process
from pipeline.rehearsal.table import Row
from pipeline.rehearsal.under_ray import WORKERS, walk_under_ray

RAY = "ray"


def walk(call: Call, scratch: Path) -> Iterator[Row]:
    """Walk the parts that were asked for, yielding each row as it is known.

    Raises:
        UserError: nothing of the params file was asked for, or its space or design is wrong.
    """
    args = call.args
    read = {
        part: places_of(call.params, part)
        for part in PARTS
        if part in args.only or (RAY in args.only)
    }
    parts = [part for part in read if part in args.only]
    places = [
        place for part in parts for place in spread(_named(read[part][0], args.names), args.sample)
    ]
    ray = [read[part][0][0] for part in WORKERS if read[part][0]] if RAY in args.only else []

    if not places + ray:
        raise UserError(
            "nothing to walk: the params file has nothing of what --only and --names ask for"
        )

    shards: dict[str, Path] = {
        name: shards_of(name, call.params.shard, scratch)
        for name in sorted({place.section.dataset for place in places + ray})
    }

    yield from _alone(places, shards, scratch)
    yield from (
        Row(not_walked.part, not_walked.label, note=not_walked.reason)
        for part in parts
        for not_walked in read[part][1]
    )

    if ray:
        for place, outcome in zip(ray, walk_under_ray(call, ray, shards, scratch), strict=True):
            yield Row(RAY, f"{place.part} {place.label}", outcome)


def _named(places: list[WalkItem], names: list[str] | None) -> list[WalkItem]:
    return [
        place
        for place in places
        if names is None or set(names) & {place.label, *place.label.split()}
    ]


def _alone(places: list[WalkItem], shards: dict[str, Path], scratch: Path) -> Iterator[Row]:
    """Walk places one after the other, each training once: another budget may have the same one
    made small.
    """
    process = Process()
    trained = dict[str, WalkItem]()
    for place in places:
        first = trained.setdefault(small(place, 1).decides, place)
        if first is not place:
            yield Row(
                place.part,
                place.label,
                note=f"the same training as {first.part} {first.label}, made small",
            )
            continue
        yield Row(
            place.part, place.label, process.take(place, shards[place.section.dataset], scratch)
        )

    process.close()
