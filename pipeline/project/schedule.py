"""What a session is to run: stages and the seconds that each may take, kept in its folder.

Each stage says as it begins which it is of how many, and how long all that is left may take.
"""

import json
import os
import time
from pathlib import Path

from pipeline.core.environment import SESSION
from pipeline.core.files import write_json
from pipeline.core.progress import say
from pipeline.core.units import clock, count

FILE = "schedule.json"


def write_schedule(session: Path, stages: dict[str, float | None]) -> None:
    """Write down what a session is to run: seconds a stage, None where nobody knows."""
    write_json(session / FILE, {"stages": stages, "begun": []})


def announce() -> None:
    """Say which stage this is, where DVC runs it in a session that has a schedule."""
    session = os.environ.get(SESSION)
    stage = os.environ.get("DVC_STAGE")
    if session is None or stage is None or not (Path(session) / FILE).exists():
        return

    schedule = json.loads((Path(session) / FILE).read_text())
    begun = [*schedule["begun"], (stage.rpartition(":")[2], time.time())]
    write_json(Path(session) / FILE, {**schedule, "begun": begun})
    say(sentence(schedule["stages"], begun))


def sentence(stages: dict[str, float | None], begun: list[tuple[str, float]]) -> str:
    """Return how far a session is.

    Args:
        stages: the seconds that each may take; None where nobody knows.
        begun: those that have begun, and when, in seconds since 1970; the last one begins now.
    """
    names = [name for name, _ in begun]
    todo = [names[-1], *(name for name in stages if name not in names)]
    total = len(names) + len(todo) - 1

    seconds = sum(stages.get(name) or 0.0 for name in todo) * _pace(stages, begun)
    unknown = sum(stages.get(name, 0.0) is None for name in todo)

    remaining = [f"about {clock(seconds)} left in all"] if seconds else []
    if unknown:
        remaining.append(f"the time of {count(unknown, 'stage')} is unknown")
    return "; ".join([f"stage {len(names)} of {total}: {names[-1]}", *remaining])


def _pace(stages: dict[str, float | None], begun: list[tuple[str, float]]) -> float:
    """Return what the stages that are done took, in what they were estimated to take."""
    ends = [when for _, when in begun[1:]]
    done = [
        (end - start, seconds)
        for (name, start), end in zip(begun, ends, strict=False)
        if (seconds := stages.get(name))
    ]
    return sum(took for took, _ in done) / sum(meant for _, meant in done) if done else 1.0
