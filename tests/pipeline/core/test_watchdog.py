"""A stage ends with the dvc that started it, also through a shell; a command of the user's own
follows nobody.
"""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers import PROJECT

from pipeline.core.watchdog import alive

STAGE = """
import os, sys, time
from pipeline.core import watchdog
watchdog.follow_callers()
print(os.getpid(), flush=True)
time.sleep(600)
"""
STARTER = """
import subprocess, sys
subprocess.run(f"{sys.executable} -c '{sys.argv[1]}'; true", shell=True)
"""


def start(stage: str | None) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """Start what stands for dvc, which starts a stage through a shell that stays between them."""
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    if stage:
        environment["DVC_STAGE"] = stage
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, STAGE],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    return starter, psutil.Process(int(starter.stdout.readline()))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_ends_with_its_dvc(sent: signal.Signals) -> None:
    starter, stage = start("fetch@imagenet")
    starter.send_signal(sent)
    starter.wait()
    stage.wait(10)


def test_a_command_of_ones_own_goes_on() -> None:
    starter, stage = start(None)
    starter.kill()
    starter.wait()
    time.sleep(1)
    assert stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE
    stage.kill()


def test_a_process_that_ended_is_not_alive_before_somebody_asked_how() -> None:
    """Or the end of a session would wait for a head that has long ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert alive(child.pid) and alive(psutil.Process(child.pid))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not alive(child.pid)
    child.communicate()
    assert not alive(child.pid)
