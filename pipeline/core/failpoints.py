"""Named points at which a test may end or hold a process, so that no kill depends on timing.

PIPELINE_FAULT holds faults separated by `;`, each a point, what must be true there, and what
happens: `step rank=1 step=12 once=/tmp/marker` kills rank 1 when it has taken step 12, the first
time only. `do=kill` (the default) is SIGKILL to the process itself, `do=stop` SIGSTOP. `do=wait`
holds it there until somebody kills it, `do=slow` for a moment. `do=fail` raises OSError.
"""

import os
import shlex
import signal
import time

VARIABLE = "PIPELINE_FAULT"
SLOW_S = 0.5


def reach(point: str, **where: int | str) -> None:
    """Pass a named point; nothing happens unless PIPELINE_FAULT names it.

    Args:
        point: the name, e.g. `checkpoint.written`.
        where: numbers and names that tell one passage from another, e.g. `step=12`.

    Raises:
        OSError: where the fault says `do=fail`.
    """
    if (armed := os.environ.get(VARIABLE)) is None:
        return
    for fault in armed.split(";"):
        name, *words = shlex.split(fault) or [""]
        conditions = dict(word.split("=", 1) for word in words)
        once = conditions.pop("once", None)
        action = conditions.pop("do", "kill")
        held_by = conditions.pop("while", None)

        if (
            name == point
            and all(str(where.get(key)) == value for key, value in conditions.items())
            and _first(once)
        ):
            _act(action, point, held_by)


def armed() -> str | None:
    """Return PIPELINE_FAULT, for handing it to a process that does not inherit it."""
    return os.environ.get(VARIABLE)


def arm(faults: str | None) -> None:
    """Set PIPELINE_FAULT for this process."""
    if faults is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = faults


def _first(marker: str | None) -> bool:
    """Leave a marker that holds this process's id; say whether nobody was here before."""
    if marker is None:
        return True
    try:
        with open(marker, "x") as file:
            file.write(str(os.getpid()))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _act(action: str, point: str, held_by: str | None) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return  # somebody let it go on
    if action == "slow":
        time.sleep(SLOW_S)
        return
    if action == "fail":
        raise OSError(f"fault at {point}")
    if action == "wait":
        while held_by is None or os.path.exists(held_by):
            time.sleep(0.05)
        return
    raise ValueError(f"{VARIABLE}: do={action} is not known; kill, stop, wait, slow or fail")
