"""`make repro` before a long run: it says what it will cost, and on a terminal it asks."""

import subprocess
import sys

import pytest
from helpers import PROJECT
from terminal import on_a_terminal

from pipeline.planning.cost import stages_in
from pipeline.planning.estimate import Plan, PlanRow, Time
from pipeline.planning.stages import PlannedStage

BEGINS = """
import sys
from pipeline.core import command
from pipeline.planning.cost import refuse_unwanted
from pipeline.planning.estimate import Plan, PlanRow, Time
from pipeline.planning.stages import PlannedStage

seconds = float(sys.argv[1])
row = PlanRow(PlannedStage("classify@v", "runs"), times=(Time(seconds, seconds, "CPU", "cpu"),))
plan = Plan((row,), (), (), (), 0)
command.main(lambda: (refuse_unwanted(plan, "make plan", "--yes" in sys.argv), print("begun")))
"""
COST = "This will cost 1 stage, about 3.0 h (3.0 CPU-h), 0 B of disk; more by: make plan"
LONG, SHORT = "10800", "3599"


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", BEGINS, *words]


@pytest.mark.parametrize(("typed", "begins"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_a_long_run_is_asked_about_on_a_terminal(typed: str, begins: bool) -> None:
    code, printed = on_a_terminal(command(LONG), PROJECT, typed)
    assert COST in printed and "Begin? [y/N]" in printed
    assert ("begun" in printed) == begins and code == (0 if begins else 1)
    assert begins or "nothing was started; to begin without being asked" in printed


@pytest.mark.parametrize("words", [(SHORT,), (LONG, "--yes")])
def test_a_short_one_or_one_that_was_agreed_to_is_not(words: tuple[str, ...]) -> None:
    code, printed = on_a_terminal(command(*words), PROJECT)
    assert code == 0 and "begun" in printed and "Begin?" not in printed
    assert (COST in printed) == (words[0] == LONG)


def test_without_a_terminal_nobody_is_asked() -> None:
    done = subprocess.run(
        command(LONG), cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [COST, "begun"], done.stderr


def test_variants_that_train_together_take_their_time_in_the_first_stage() -> None:
    finished = PlanRow(PlannedStage("classify@done", "runs"), times=())
    rows = tuple(
        PlanRow(PlannedStage(name, "runs"), times=(Time(60.0, 30.0, "CPU", "cpu"),))
        for name in ("classify@a", "classify@b", "detect@a")
    )
    plan = Plan((finished, *rows), (), (), (), 0)
    assert list(stages_in(plan, together=True).values()) == [0.0, 60.0, 0.0, 30.0]
    assert list(stages_in(plan, together=False).values()) == [0.0, 30.0, 30.0, 30.0]
