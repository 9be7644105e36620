"""Which stage of how many it is, and how long the rest may take."""

from pathlib import Path

import pytest

from pipeline.core.environment import SESSION
from pipeline.project.schedule import announce, sentence, write_schedule

STAGES: dict[str, float | None] = {"fetch@a": 0.0, "b@x": 600.0, "b@y": 1200.0, "c": 5400.0}


def test_time_left_is_what_the_plan_says_of_the_rest() -> None:
    assert sentence(STAGES, [("fetch@a", 0)]) == "stage 1 of 4: fetch@a; about 2.0 h left in all"
    begun = [("fetch@a", 0.0), ("b@y", 9.0)]
    assert sentence(STAGES, begun) == "stage 2 of 4: b@y; about 2.0 h left in all"


def test_time_left_follows_what_was_measured() -> None:
    """The first training took twice what was planned, so the others may too."""
    begun = [("fetch@a", 0.0), ("b@x", 50.0), ("b@y", 1250.0)]
    assert sentence(STAGES, begun) == "stage 3 of 4: b@y; about 3.7 h left in all"


def test_what_nobody_knows_is_said() -> None:
    said = sentence({**STAGES, "d": None, "e": None}, [("c", 0.0)])
    assert said == "stage 1 of 6: c; about 2.0 h left in all; the time of 2 stages is unknown"
    assert sentence({"d": None}, [("d", 0.0)]) == "stage 1 of 1: d; the time of 1 stage is unknown"


def test_a_stage_that_was_not_planned_counts() -> None:
    assert sentence({"d": 60.0}, [("new", 0.0)]).startswith("stage 1 of 2: new; about 1.0 min")


def test_a_stage_says_it_once_dvc_runs_it_in_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SESSION, str(tmp_path))
    monkeypatch.setenv("DVC_STAGE", "dvc.yaml:b@x")
    announce()
    assert capsys.readouterr().out == ""  # a session without a schedule

    write_schedule(tmp_path, STAGES)
    announce()
    monkeypatch.setenv("DVC_STAGE", "c")
    announce()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "stage 1 of 4: b@x; about 2.0 h left in all"
    assert second.startswith("stage 2 of 4: c; ")
