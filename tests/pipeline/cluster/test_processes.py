"""A silent process is ended where it computes nothing, and only there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from pipeline.cluster import processes
from pipeline.cluster.processes import end_if_idle

SAY = "import sys; print('here', flush=True); "
BUSY = SAY + "sum(range(10**12))"  # one call, in which no other thread of it runs
ASLEEP = SAY + "import time; time.sleep(600)"


@pytest.fixture
def process(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[subprocess.Popen[bytes]]":
    monkeypatch.setattr(processes, "LOOK_S", 1.0)
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        yield started
        started.kill()


@pytest.mark.parametrize("process", [BUSY], indirect=True)
def test_one_that_computes_goes_on(process: "subprocess.Popen[bytes]") -> None:
    assert not end_if_idle(process.pid)
    assert process.poll() is None


@pytest.mark.parametrize("process", [BUSY], indirect=True)
def test_one_that_is_stopped_is_ended(process: "subprocess.Popen[bytes]") -> None:
    os.kill(process.pid, signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    assert end_if_idle(process.pid)
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("process", [ASLEEP], indirect=True)
def test_one_that_waits_for_ever_is_ended_and_one_that_is_gone_is_gone(
    process: "subprocess.Popen[bytes]",
) -> None:
    assert end_if_idle(process.pid)
    assert process.wait(10) == -signal.SIGKILL
    assert end_if_idle(process.pid)
