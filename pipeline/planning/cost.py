"""What `make repro` would cost, before it begins: in a sentence, and in seconds a stage."""

import sys

from pipeline.core.progress import say
from pipeline.core.units import clock, count, duration, size
from pipeline.params import TASKS
from pipeline.planning.estimate import Plan

LONG_S = 3600.0
"""From here on a run is asked about."""


def refuse_unwanted(plan: Plan, more: str, yes: bool) -> None:
    """Say what a long run will cost, and on a terminal ask whether it is wanted.

    Args:
        plan: of all that would run.
        more: the command that says more of it.
        yes: whether it was agreed to already.

    Raises:
        SystemExit: it is not.
    """
    if plan.wall < LONG_S:
        return
    say(f"This will cost {cost(plan)}; more by: {more}")
    if yes or not sys.stdin.isatty():
        return
    if input("Begin? [y/N] ").strip().lower() not in ("y", "yes"):
        sys.exit("nothing was started; to begin without being asked: make repro options=--yes")


def stages_in(plan: Plan, together: bool) -> dict[str, float | None]:
    """Return the seconds of each stage that would run; None where nobody knows.

    Where variants are trained together, all the time of a task is that of its first stage that has
    anything to train.
    """
    seconds: dict[str, float | None] = {}
    first: dict[str, str] = {}

    for row in plan.rows:
        name = row.stage.name
        verb = row.stage.verb
        seconds[name] = row.wall
        if not together or verb not in TASKS or not row.wall:
            continue

        begins = first.setdefault(verb, name)
        if begins != name:
            seconds[begins] = (seconds[begins] or 0.0) + row.wall
            seconds[name] = 0.0

    return seconds


def cost(plan: Plan) -> str:
    """Return in a sentence what a plan comes to."""
    unknown = sum(row.times is None for row in plan.rows)
    busy = [duration(plan.busy(kind), f"{kind}-") for kind in ("GPU", "CPU") if plan.busy(kind)]
    least = "at least " if unknown else "about "
    time = f"{least}{clock(plan.wall)} ({' + '.join(busy)})"
    more = f"; the time of {count(unknown, 'stage')} is unknown" if unknown else ""
    return f"{count(len(plan.rows), 'stage')}, {time}, {size(plan.disk.kept)} of disk{more}"
