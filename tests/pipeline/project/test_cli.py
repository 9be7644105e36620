"""A command that is asked to end closes what is open; those that it prints can be pasted into a
shell.
"""

import argparse
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PROJECT, make_project

from pipeline.core.errors import UserError
from pipeline.core.shell import shell_line
from pipeline.project import cli

COMMAND = """
import time
from pipeline.project import cli
def run():
    try:
        print("open", flush=True)
        time.sleep(600)
    finally:
        print("closed", flush=True)
cli.main(run)
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_asked_to_end_closes_what_is_open(
    sent: signal.Signals, code: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None and command.stdout.readline() == "open\n"
    command.send_signal(sent)
    said, wrong = command.communicate(timeout=60)
    assert (said, command.returncode) == ("closed\n", code)
    assert "Traceback" not in wrong


ON_A_TERMINAL = """
import fcntl, pathlib, signal, sys, termios, time
from pipeline.project import cli
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
def run():
    try:
        print("open", flush=True)
        time.sleep(600)
    finally:
        print("closed", flush=True)
        print("closed", file=sys.stderr, flush=True)
        pathlib.Path("closed").touch()
cli.main(run)
"""


def test_a_command_whose_terminal_is_closed_closes_what_is_open(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    assert os.read(ours, 4).decode() == "open"
    os.close(ours)
    assert command.wait(60) == 128 + signal.SIGHUP
    assert (tmp_path / "closed").exists(), "it printed to a terminal that is gone"


def test_a_folder_that_may_not_be_written_is_one_sentence() -> None:
    """As a home that is read-only: not even root makes a folder there."""
    program = "import os; from pipeline.project import cli; cli.main(lambda: os.mkdir('/sys/mine'))"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "/sys/mine cannot be used" in done.stderr and "XDG_CACHE_HOME" in done.stderr


WORDS = (
    "plain",
    "a b",
    "x #1",
    "it's",
    "~/x",
    "=ls",
    "-x",
    "$HOME",
    "`id`",
    "a;b",
    "[1,2]",
    "*",
    "!!",
    "{a,b}",
    "a\nb",
    "ü",
    "\\",
    "a=~/b",
)


@pytest.mark.parametrize("shell", ["bash", "zsh", "sh"])
def test_printed_commands_can_be_pasted(shell: str) -> None:
    """Into a shell that waits for input, whose history and globbing are on."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    show = f"{sys.executable} -c 'import sys; print(ascii(sys.argv[1:]))'"
    line = shell_line(
        *WORDS, *(("--set", f"a={word}") for word in WORDS), ("--out", "-x"), ("--params", "=p")
    )
    ran = subprocess.run(
        [shell], input=f"{show} {line}\n", capture_output=True, text=True, env={"HOME": "/h"}
    )
    options = [part for word in WORDS for part in ("--set", f"a={word}")]
    assert ran.stdout == ascii([*WORDS, *options, "--out=-x", "--params", "=p"]) + "\n", ran.stderr


def test_commands_hold_the_options_of_the_call_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_project(tmp_path / "project"))
    source = "data.coco.source={url: https://x.org/a.zip?key=hush, md5: " + "b" * 32 + "}"
    args = argparse.Namespace(
        params="params.yaml", set=["data.imagenet.source=my #1", source], out="o p"
    )
    said = cli.call(args).command("fetch", "imagenet")
    assert said.startswith(
        "python -m pipeline.fetch imagenet --params params.yaml --set 'data.imagenet.source=my #1'"
    )
    assert said.endswith("--out 'o p'") and "hush" not in said
    with pytest.raises(
        UserError, match=r"run: python -m pipeline\.fetch imagenet .* && python -m pipeline\.shard"
    ):
        cli.call(args).shards("imagenet")


@pytest.mark.parametrize(
    "stage", ["classify@v", "dvc.yaml:classify@v", "../a@b/dvc.yaml:classify@v"]
)
def test_a_stage_of_dvc_names_a_task_and_a_variant(stage: str) -> None:
    assert cli.words_of(stage) == ["classify", "v"] and cli.words_of("classify") == ["classify"]
