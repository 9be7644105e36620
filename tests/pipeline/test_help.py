"""What `--help` says of every command that there is."""

import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers import PROJECT

from pipeline.core import watchdog

FILES = sorted((PROJECT / "pipeline").glob("*.py"))
FOLDERS = sorted((PROJECT / "pipeline").glob("*/__main__.py"))
COMMANDS = [
    *(f"pipeline.{path.stem}" for path in FILES if path.name != "__init__.py"),
    *(f"pipeline.{path.parent.name}" for path in FOLDERS),
    "models",
]
OF_A_VERB = ["pipeline.jobs status", "pipeline.shards verify"]


def test_the_commands_are_found() -> None:
    assert {"pipeline.train", "pipeline.params", "pipeline.shards"} <= set(COMMANDS)
    assert len(COMMANDS) > 20


@pytest.fixture
def signals() -> Iterator[None]:
    """What a command does about signals ends with the test."""
    before = {number: signal.getsignal(number) for number in watchdog.ENDINGS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("command", [*COMMANDS, *OF_A_VERB])
def test_help_names_the_command_as_it_is_typed_and_fits_a_terminal(
    command: str,
    signals: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also in a terminal that is wider, where long lines are hard to read."""
    module, *words = command.split()
    monkeypatch.setattr(sys, "argv", [module, *words, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out

    assert shown.startswith(f"usage: python -m {command} ")
    assert "default: None" not in shown and "default: []" not in shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []

    if command not in OF_A_VERB:
        [example] = [line for line in shown.splitlines() if line.startswith("example: ")]
        assert f"{example} ".startswith(f"example: python -m {command} ")
    if "--set" in shown and command != "pipeline.params":
        assert "python -m pipeline.params" in shown


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = [sys.executable, "-m", "pipeline.params"]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() != ""
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE and process.stderr.read() == ""
    process.stderr.close()
