"""A lock keeps others out, says who has it, and ends with its holder however that ends."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT

from pipeline.core.locks import Busy, held, locked
from pipeline.params import Params
from pipeline.project.call import Call, Folders

HOLD = """
import sys, time
from pathlib import Path
from pipeline.core.locks import held
with held(Path(sys.argv[1]), "work"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_held_lock_names_its_holder_and_a_kill_frees_it(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    with (
        pytest.raises(Busy, match=f"work is being done by process {holder.pid} on .* since"),
        held(tmp_path / "lock", "work", wait=False),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with held(tmp_path / "lock", "work", wait=False):
        pass


def test_who_waits_says_so_and_then_has_the_lock(
    tmp_path: Path, holder: "subprocess.Popen[str]"
) -> None:
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        holder.kill()

    with held(tmp_path / "lock", "work", say=say):
        assert said and said[0].endswith("; waiting for it") and str(holder.pid) in said[0]
    holder.wait()


def test_a_stage_is_alone_with_its_name(tmp_path: Path) -> None:
    call = Call(argparse.Namespace(), Params(), tmp_path, Folders(tmp_path))
    with call.alone("shard", "imagenet"):
        lock = held(call.folders.lock("shard-imagenet"), "shard imagenet", wait=False)
        with pytest.raises(Busy, match="shard imagenet is being done"), lock:
            pass
        with call.alone("shard", "coco"):
            pass


def test_a_lock_of_a_file_leaves_its_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"half of it")
    with locked(path) as number:
        assert os.pread(number, 20, 0) == b"half of it"
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
    with locked(path, wait=False):
        pass
    assert path.read_bytes() == b"half of it"
