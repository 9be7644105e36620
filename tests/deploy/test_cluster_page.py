"""docs/cluster.md: its Ray commands are read by Ray's own command line."""

import re
import shlex

import click
import pytest
from helpers import PROJECT
from ray.scripts.scripts import cli

PAGE = (PROJECT / "docs" / "cluster.md").read_text()
CODE = "\n".join(re.findall(r"^    (.*)$", PAGE, re.MULTILINE)).replace("\\\n", " ")
NAMES = r"ray (?:start|job|up|exec|down|dashboard|get-auth-token)\b[^#|>)\n]*"
RAY = re.findall(rf"(?:^|[ /(])({NAMES})", CODE, re.MULTILINE)


@pytest.mark.parametrize("line", RAY)
def test_ray_reads_the_command(line: str) -> None:
    words = shlex.split(line.partition("'")[0] + " it" if line.count("'") % 2 else line)
    command: click.Command | None = cli
    name: str | None
    name, *words = words
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(click.Context(command), words)
    assert command is not None
    command.make_context(name, words)


def test_there_are_commands() -> None:
    assert len(RAY) >= 9
