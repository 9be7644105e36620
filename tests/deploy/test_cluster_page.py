"""docs/cluster.md: its Ray commands are read by Ray's own command line, its sizes are the plan's."""

import json
import re
import shlex
import subprocess
import sys

import click
import pytest
from helpers import PROJECT
from ray.scripts.scripts import cli

PAGE = (PROJECT / "docs" / "cluster.md").read_text()
CODE = "\n".join(re.findall(r"^    (.*)$", PAGE, re.MULTILINE)).replace("\\\n", " ")
NAMES = r"ray (?:start|job|up|exec|down|dashboard|get-auth-token)\b[^#|>)\n]*"
RAY = re.findall(rf"(?:^|[ /(])({NAMES})", CODE, re.MULTILINE)
ROWS = {
    "classify, tiny": "classify@dwnet_tiny",
    "classify, base; inhomogeneous tiny": "classify@dwnet_base",
    "detect": "detect@dwnet_tiny",
    "segment": "segment@dwnet_tiny",
    "`tune`, 75 trials of 100 epochs": "tune",
    "`factorial`, 138 runs of 100 or 300 epochs": "factorial",
}


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


def test_the_sizes_are_the_plans() -> None:
    options = ["--params", "params/paper.yaml", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.plan", *options],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    planned = {row["stage"]: row for row in json.loads(done.stdout)["stages"]}
    for row, stage in ROWS.items():
        (cells,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", PAGE, re.MULTILINE)
        images, steps, *_, hours = cells.split(" | ")
        assert f"{planned[stage]['steps']:,}" == steps
        exact = planned[stage]["images"]
        shown = f"{exact / 1e6:,.0f} M" if exact > 1e7 else f"{exact / 1e6:.1f} M"
        assert shown == images
        a_second = 10 if stage.startswith(("detect", "segment")) else 1000
        assert f"{exact / a_second / 3600:,.0f}" == hours.removesuffix(" in all")
