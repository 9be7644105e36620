"""A command that is asked to end closes what is open, as it does at any other end."""

import os
import signal
import subprocess
import sys

import pytest
from helpers import PROJECT

COMMAND = """
import time
from pipeline import cli
def run():
    try:
        print("open", flush=True)
        time.sleep(600)
    finally:
        print("closed", flush=True)
cli.main(run)
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_asked_to_end_closes_what_is_open(sent: signal.Signals, code: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None and command.stdout.readline() == "open\n"
    command.send_signal(sent)
    said, wrong = command.communicate(timeout=60)
    assert (said, command.returncode) == ("closed\n", code)
    assert "Traceback" not in wrong
