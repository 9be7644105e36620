"""What the search and the factorial published, read and checked."""

import json
from typing import Any

import pytest

from pipeline.core.errors import UserError
from pipeline.report.trials import read_factorial, read_search


def test_what_has_not_been_run_is_none(project: Any) -> None:
    assert read_factorial(project.call()) is None
    assert read_search(project.call()) is None


def test_a_factorial_is_read_whatever_columns_it_has_besides(project: Any) -> None:
    project.factorial()
    rows = [row | {"new_column": "x", "loss2": "1"} for row in project.trials("factorial")]
    rows[7] |= {
        "state": "failed",
        "top1": "",
        "epoch": "",
        "wall_time_s": "",
        "device": "",
        "error": "out of memory",
    }
    project.write_trials("factorial", rows)
    found = read_factorial(project.call())
    assert found is not None
    assert len(found.trials) == len(rows)
    assert found.trials[0].value == float(rows[0]["top1"])
    assert (found.trials[7].state, found.trials[7].value, found.trials[7].hours) == (
        "failed",
        None,
        None,
    )
    assert found.budgets == ["short"]


def test_longer_budgets_come_first(project: Any) -> None:
    design = project.factorial()
    budgets = {
        "short": {"epochs": 2.0, "recipe": {}},
        "weeks": {"epochs": 12.0, "recipe": {}},
        "later": {"epochs": 99.0, "recipe": {}},
    }
    project._publish("factorial", "design.json", json.dumps(design | {"budgets": budgets}))
    rows = project.trials("factorial")
    project.write_trials("factorial", rows + [row | {"budget": "weeks"} for row in rows])
    found = read_factorial(project.call())
    assert found is not None
    assert found.budgets == ["weeks", "short"]


def test_values_of_a_search_have_the_types_of_its_space(project: Any) -> None:
    space = {"mixer": ["dwnet"], "kernel_size": [None, 7], "lr": [0.1]}
    project.search(space=space)
    row = project.trials("tune")[0] | {"kernel_size": "", "lr": "0.1"}
    project.write_trials("tune", [row, row | {"kernel_size": "7"}])
    found = read_search(project.call())
    assert found is not None
    assert [trial.values for trial in found.trials] == [
        {"mixer": "dwnet", "kernel_size": None, "lr": 0.1},
        {"mixer": "dwnet", "kernel_size": 7, "lr": 0.1},
    ]
    assert found.trials[0].setting == "dwnet, kernel_size default, lr 0.1"


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (
            lambda rows: rows[1].update(budget="other"),
            "a row of 'other shared_channel_static' that design.json lacks",
        ),
        (lambda rows: rows[1].update(setting="other"), "that design.json lacks"),
        (lambda rows: rows[1].update(seed="0"), "holds short shared_channel_static 0 twice"),
        (lambda rows: rows[1].update(seed="one"), "does not fit at 'seed' in line 3"),
        (lambda rows: rows[1].update(state="running"), "does not fit at 'state' in line 3"),
        (lambda rows: rows[1].update(top1="nan"), "does not fit at 'value' in line 3"),
        (lambda rows: rows[1].update(top1=""), "lacks top1 of a finished run in line 3"),
        (
            lambda rows: rows[1].update(parameters="7"),
            "'shared_channel_static' more than one number of parameters",
        ),
    ],
)
def test_a_garbled_table_is_one_sentence(project: Any, break_it: Any, complaint: str) -> None:
    project.factorial()
    rows = project.trials("factorial")
    break_it(rows)
    project.write_trials("factorial", rows)
    refused(project, read_factorial, "results/factorial/trials.csv", complaint)


@pytest.mark.parametrize(
    ("read", "file", "text", "complaint"),
    [
        (read_factorial, "factorial/design.json", None, "cannot be read"),
        (read_factorial, "factorial/design.json", "{", "is not JSON"),
        (read_factorial, "factorial/trials.csv", None, "cannot be read"),
        (
            read_factorial,
            "factorial/trials.csv",
            "budget,setting,seed\nshort\n",
            "too few or too many cells in line 2",
        ),
        (read_search, "tune/search.json", "[]", "does not fit"),
        (read_search, "tune/best.json", None, "cannot be read"),
        (
            read_search,
            "tune/trials.csv",
            "a\n\xff\x00",
            "too few or too many cells|does not fit|cannot be read",
        ),
    ],
)
def test_a_missing_or_garbled_file_is_named(
    project: Any, read: Any, file: str, text: str | None, complaint: str
) -> None:
    project.factorial()
    project.search()
    path = project.root / "results" / file
    path.unlink() if text is None else path.write_text(text)
    refused(project, read, f"results/{file}", complaint)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"contrasts": {"bridge": [["swin_bn", "nothing"]]}},
            "names 'nothing', which is no setting",
        ),
        ({"controls": {"nothing": "control_a"}}, "names 'nothing'"),
        ({"budgets": {"a b": {"epochs": 1, "recipe": {}}}}, "does not fit at 'budgets"),
        ({"metric": "[x](y)"}, "does not fit at 'metric'"),
    ],
)
def test_a_design_that_does_not_hold_together_is_refused(
    project: Any, change: Any, complaint: str
) -> None:
    design = project.factorial()
    project._publish("factorial", "design.json", json.dumps(design | change))
    refused(project, read_factorial, "results/factorial/design.json", complaint)


def test_cells_that_are_one_are_refused_by_name(project: Any) -> None:
    design = project.factorial()
    design["cells"]["placed_all_static"] = design["cells"]["placed_all_dynamic"]
    project._publish("factorial", "design.json", json.dumps(design))
    with pytest.raises(
        UserError,
        match=r"results/factorial does not make a design: .*one cell.*run its stage again",
    ):
        project.text()


def refused(project: Any, read: Any, path: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        read(project.call())
    assert path in str(caught.value)
    assert str(caught.value).endswith("run its stage again")
    assert "\n" not in str(caught.value)
