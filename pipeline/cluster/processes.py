"""Looking at a process on its own machine; runs as a task of Ray's there, so it imports little."""

import os
import signal
import time

LOOK_S = 3.0
IDLE = 0.05


def end_if_idle(pid: int) -> bool:
    """End a process with SIGKILL where it is stopped, or computes nothing for a moment.

    Returns:
        Whether it was ended, or is gone.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(LOOK_S)
        if sum(process.cpu_times()[:2]) - before > IDLE * LOOK_S:
            return False
        os.kill(pid, signal.SIGKILL)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass
    return True
