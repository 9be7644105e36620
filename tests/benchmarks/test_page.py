"""`make bench`: what becomes of figures that miss their goal, and of benchmarks that cannot run."""

import benchmarks.__main__ as bench
from benchmarks.common.page import page

MET = {"figure": "fast", "peer": "it", "ratio": 2.0, "goal": 1.5, "stretch": 3, "ours": 1.0}
MISSED = {"figure": "slow", "peer": "that", "ratio": 0.5, "goal": 1.5, "stretch": None}
FREE = {"figure": "free", "peer": "that", "ratio": 0.9, "goal": None, "stretch": None}
ALONE = {"figure": "alone", "images_per_s": 3}


def test_every_row_stays_and_goals_are_counted():
    lines = [MET | {"theirs": 2.0, "command": "make bench"}, MISSED, FREE, ALONE]
    text = page(lines, {"gpu": "there is no GPU"}, "2 cores", "abc")
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("|")}
    assert "**1 of 2 goals met**" in text and "2 cores" in text and "commit abc" in text
    assert "| 2.00 | 1.5 (3) | yes | 1.0 / 2.0 | `make bench` |" in rows["fast"]
    assert "| 0.50 | 1.5 | no |" in rows["slow"] and "| 0.90 |  |  |" in rows["free"]
    assert "could not run: there is no GPU" in rows["gpu"]
    assert "images_per_s 3" in rows["alone"]


def test_a_benchmark_that_fails_is_a_sentence():
    lines, why = bench.run("no_such_benchmark", 60)
    assert lines == [] and why is not None and "no_such_benchmark" in why


def test_one_that_takes_too_long_is_ended():
    assert bench.run("operators", 0.05) == ([], "longer than 0 s")


def test_helpers_are_no_benchmarks():
    assert {"operators", "steps", "loading"} <= set(bench.parts())
    assert not {"common", "page", "__main__"} & set(bench.parts())
