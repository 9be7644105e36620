"""What to know before a run begins, a sentence each."""

from collections.abc import Iterator

from pipeline.core.units import count, size
from pipeline.params import TASKS
from pipeline.planning import disk
from pipeline.planning.estimate import Plan
from pipeline.planning.speed import LAST
from pipeline.project.call import Call

WORTH_SAYING = 10**9


def advice(call: Call, plan: Plan) -> Iterator[str]:
    """Yield the sentences for a plan."""
    yield from _data(call, plan)
    yield from _round_times(call, plan)
    yield from _estimated_times(call, plan)
    yield from _disk(call, plan)
    if later := [row for row in plan.rows if row.stage.after]:
        yield (
            "Counted in full, though DVC skips what comes after a stage that makes the same "
            "bytes again: "
            f"{count(len(later), 'stage')}, from {later[0].stage.name} on."
        )


def _data(call: Call, plan: Plan) -> Iterator[str]:
    """Yield where nobody has looked at the data yet."""
    for amount in plan.amounts:
        look = call.again(f"fetch@{amount.name}")
        if amount.known == "unknown":
            origin = getattr(call.params.data, amount.name).origin
            yield f"How many images are in {origin} is unknown until fetch has looked: {look}"
        elif amount.known == "official":
            yield (
                f"{amount.name} is counted as the whole official data set until fetch has "
                f"looked: {look}"
            )


def _round_times(call: Call, plan: Plan) -> Iterator[str]:
    """Yield what would measure the networks whose times are round figures."""
    rounded = [row for row in plan.rows if row.rounded]
    keys = dict.fromkeys(row.stage.key for row in rounded)
    names = [key for key in keys if key in call.params.classify.variants]

    if rounded and (names := names or list(call.params.classify.variants)):
        more = (
            f" (one of {len(names)} variants; networks that are alike are then estimated)"
            if len(names) > 1
            else ""
        )
        measure = call.again(f"profile@{names[0]}")
        yield (
            f"The time of {count(len(rounded), 'stage')} (round) is from round figures and may be "
            f"wrong by a factor of three: {measure} measures {names[0]} on "
            f"this machine{more}; plan.gpu says which GPU is meant."
        )


def _estimated_times(call: Call, plan: Plan) -> Iterator[str]:
    """Yield how far the times can be trusted."""
    gpus = call.params.cluster.gpus_per_worker
    slow = sorted(
        {time.device for row in plan.rows for time in row.times or () if time.kind == "CPU"}
    )

    if gpus != "auto" and gpus > 0 and slow:
        yield (
            f"These are times of {', '.join(slow)}, which is no GPU, but cluster.gpus_per_worker "
            f"is {gpus:g}; profile "
            "on the machine that will train."
        )

    if rough := [row for row in plan.rows if row.rough and not row.rounded]:
        yield (
            f"The time of {count(len(rough), 'stage')} (~) is scaled from what another network "
            "or size took; expect "
            "it within a factor of two."
        )

    timed = [row for row in plan.rows if row.stage.verb in TASKS and not row.rounded]
    if any(basis != LAST for row in timed for basis in row.bases):
        yield "A profile times steps alone; a training that waits for its images takes longer."


def _disk(call: Call, plan: Plan) -> Iterator[str]:
    """Yield whether the disk is large enough, and what on it is there twice."""
    needed = plan.disk.kept + plan.disk.passing
    if needed > plan.free:
        yield (
            f"The disk of {call.folders.root} has {size(plan.free)} free, less than the "
            f"{size(needed)} that this "
            "needs; make room, or move the project."
        )

    if plan.disk.kept >= WORTH_SAYING and disk.copies(call) > 1:
        yield (
            "Outputs are counted twice, in the project and in DVC's cache; `dvc config "
            "cache.type reflink,hardlink` "
            "keeps them once."
        )

    if unknown := [row.stage.name for row in plan.rows if row.disk is None]:
        yield (
            f"What {count(len(unknown), 'stage')} would leave on disk is unknown and not in "
            "the total."
        )
