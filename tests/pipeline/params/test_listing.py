"""`python -m pipeline.params`: every parameter is listed, described, and can be typed as it stands."""

from collections.abc import Iterator
from typing import Any

import pytest
from helpers import PROJECT
from pydantic import ValidationError

from pipeline.params import Params
from pipeline.params.__main__ import main
from pipeline.params.listing import ANY_NAME, Parameter, page, parameters
from pipeline.params.overrides import override

REFERENCE = PROJECT / "docs" / "parameters-reference.md"
LISTED = {parameter.key: parameter for parameter in parameters()}


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_parameter_is_listed() -> None:
    named = ("compare.tolerance.", "factorial.budgets.")  # their keys are names, not parameters
    keys = {key for key in leaves(Params().model_dump()) if not key.startswith(named)}
    assert len(keys) > 200 and keys <= LISTED.keys()
    assert {"classify.variants.NAME.kernel_size", "tune.space.NAME.low"} <= LISTED.keys()


def test_every_parameter_is_described() -> None:
    assert [key for key, parameter in LISTED.items() if not parameter.meaning] == []
    assert [key for key, parameter in LISTED.items() if not parameter.choices] == []


ALONE = [key for key in LISTED if ANY_NAME not in key and "real_labels." not in key]
"""What can be set without anything beside it."""


@pytest.mark.parametrize("key", ALONE)
def test_a_default_can_be_set_as_it_is_shown(key: str) -> None:
    tree: dict[str, Any] = {}
    override(tree, f"{key}={LISTED[key].default}", Params)
    try:
        assert Params.model_validate(tree) == Params()
    except ValidationError as error:  # of the units of a duration there is one
        assert [wrong["type"] for wrong in error.errors()] == ["value_error"]
        assert LISTED[key].default == "null" and "duration is" in str(error)


def test_what_a_parameter_may_be_is_what_its_model_says() -> None:
    said = {
        "classify.recipe.optimizer.lr": ("0.0005", "number > 0"),
        "classify.recipe.augment.interpolation": ("bicubic", "bilinear | bicubic"),
        "classify.recipe.augment.crop_scale": (
            "[0.08, 1.0]",
            "[number >= 0 and <= 1, number >= 0 and <= 1]",
        ),
        "classify.recipe.shuffle_block": ("all", "whole number > 0 | all"),
        "data.coco.limit": ("{}", "{train | val: whole number > 0}"),
        "cluster.together": ("false", "true | false"),
    }
    found = {key: (LISTED[key].default, LISTED[key].choices) for key in said}
    assert found == said


@pytest.mark.parametrize("columns", [50, 80])
def test_lines_fit_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.argv", ["params"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 * len(LISTED) - 1
    assert [line for line in lines if len(line) > columns] == []


def test_a_search_looks_at_key_and_meaning() -> None:
    parameter = Parameter("a.drop_path_rate", "0.1", "number", "Probability of a skip.")
    assert parameter.matches("Drop_Path") and parameter.matches("SKIP")
    assert not parameter.matches("number")


def test_the_page_of_the_reference_is_that_of_the_models() -> None:
    remade = "python -m pipeline.params --markdown docs/parameters-reference.md"
    assert REFERENCE.read_text() == page(parameters()), f"{REFERENCE} is old: {remade}"
